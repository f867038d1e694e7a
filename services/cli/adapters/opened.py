"""Files and standard input, opened as a stream of UTF-8: gzip and zstd are unpacked, UTF-16 and UTF-32 are
recoded. All is recognised by content, in constant memory."""

from __future__ import annotations

import codecs
import gzip
import io
import sys
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import zstandard

STANDARD_INPUT = Path("-")
CHUNK = 1 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# The mark at the beginning of a file, the longer ones first; or an ASCII character among zeros.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"{\0", "utf-16-le"),
    (b"[\0", "utf-16-le"),
    (b"\0{", "utf-16-be"),
    (b"\0[", "utf-16-be"),
)


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """Reading it raises EOFError, OSError, zlib.error or zstandard.ZstdError if it is cut off or damaged."""
    with ExitStack() as open_:
        stream = open_.enter_context(_source(path))
        start = stream.peek(4)[:4]
        if start.startswith(_GZIP):
            stream = io.BufferedReader(gzip.GzipFile(fileobj=stream), CHUNK)
        elif start == _ZSTD:
            stream = io.BufferedReader(_Zstd(stream), CHUNK)
        if encoding := _encoding(stream.peek(4)[:4]):
            stream = io.BufferedReader(_Recoded(stream, encoding), CHUNK)
        yield stream


def _source(path: Path) -> io.BufferedReader:
    if path == STANDARD_INPUT:
        return io.BufferedReader(_Begun(sys.stdin.buffer), CHUNK)
    return io.BufferedReader(io.FileIO(path), CHUNK)


def _encoding(start: bytes) -> str:
    """Empty for UTF-8, and for what is not text."""
    return next((name for mark, name in _MARKS if start.startswith(mark)), "")


class _Unpacked(io.RawIOBase):
    """What `_more` returns, piece by piece; an empty piece is the end."""

    _held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held:
            self._held = self._more()
        count = min(len(buffer), len(self._held))
        buffer[:count], self._held = self._held[:count], self._held[count:]
        return count

    @abstractmethod
    def _more(self) -> bytes:
        """At least one byte, until the end."""


class _Begun(_Unpacked):
    """Standard input. A pipe hands out as little as it has: the first piece is waited for, so that what it is
    can be seen from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._first = stream, True

    def _more(self) -> bytes:
        if self._first:
            self._first = False
            return self._stream.read(CHUNK)
        read1 = getattr(self._stream, "read1", self._stream.read)
        found: bytes = read1(CHUNK)
        return found


class _Zstd(_Unpacked):
    """Frames one after the other, unpacked. EOFError if the last one is cut off; the library's own reader
    would take that for the end."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed, self._rest = packed, b""
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def _more(self) -> bytes:
        unpacked = b""
        while not unpacked:
            packed = self._rest or self._packed.read(CHUNK // 64)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the zstd frame is cut off")
                return b""
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            unpacked, self._rest = self._frame.decompress(packed), b""
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
        return unpacked


class _Recoded(_Unpacked):
    """Another encoding as UTF-8. What is wrong in it becomes U+FFFD."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")

    def _more(self) -> bytes:
        text, ended = "", False
        while not text and not ended:
            piece = self._stream.read(CHUNK)
            ended = not piece
            text = self._decoder.decode(piece, final=ended)
        return text.encode("utf-8", "replace")
