"""Conversation files as a stream of records, in constant memory: JSON lines, a JSON array, or JSON
objects one after the other; plain, gzip or zstd; a file or a folder."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

from services.cli.adapters.journals import ProgressFile, ReportFile
from services.cli.domain.chitchat import chitchat
from services.cli.domain.records import Record
from shared.language.errors import FailedPrecondition, InvalidArgument, NotFound
from shared.language.json_text import decode

# A longer record is refused: no person said that much.
MAX_RECORD_BYTES = 64 * 1024 * 1024
_CHUNK = 1 << 20
_NAMES = re.compile(r".+\.(jsonl|ndjson|json)(\.gz|\.zst)?$", re.IGNORECASE)
# A whole string, the beginning of one that is cut off, or what opens, closes and separates.
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|"|[\[\]{},]', re.DOTALL)
_BLANK = b" \t\r\n,"
_BOM = b"\xef\xbb\xbf"


def files_of(path: Path) -> list[Path]:
    """The file, or those of a folder that are named like conversations, in the order of their names.
    Raises NotFound."""
    if path.is_file():
        return [path]
    found = sorted(one for one in path.rglob("*") if one.is_file() and _NAMES.match(one.name))
    if not found:
        raise NotFound(
            f"{path} is neither a file nor a folder with .json or .jsonl files (also .gz and .zst)",
            reason="FILE_NOT_FOUND",
        )
    return found


def records_of(path: Path, name: str) -> Iterator[Record]:
    """In order, as records of the file `name`. What cannot be cut out of the file becomes a record
    with its error; if nothing more can be read after it, it is the last."""
    line = 1
    try:
        with _opened(path) as stream:
            for record in _records(stream, path, name):
                line = record.line
                yield record
    except (EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
        words = f"the file cannot be read past line {line}: {error}"
        yield Record(
            name, line + 1, b"", InvalidArgument(words, reason="BROKEN_FILE", field="file")
        )


def chitchat_records() -> Iterator[Record]:
    """The chats that come with the package chitchat-dataset."""
    try:
        import chitchat_dataset
    except ImportError as error:
        raise FailedPrecondition(
            "the chats are in a package that is not installed: pip install 'trimtab[demo]'",
            reason="PACKAGE_MISSING",
        ) from error

    path = Path(str(chitchat_dataset.__file__)).with_name("dataset.json")
    for line, (_, record) in enumerate(chitchat(json.loads(path.read_text())), 1):
        yield Record("chitchat", line, json.dumps(record).encode())


def parse(raw: bytes) -> object:
    """A record's JSON. InvalidArgument says what is wrong with it, and where."""
    try:
        return decode(raw)
    except (ValueError, RecursionError) as error:
        cause: Exception = error
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"byte {error.start + 1} is not UTF-8",
            reason="BROKEN_UTF8",
            field=f"byte {error.start + 1}",
        ) from error
    raise InvalidArgument(f"it is not JSON: {cause}", reason="UNREADABLE") from cause


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic.startswith(b"\x1f\x8b"):
        return io.BufferedReader(gzip.open(path, "rb"), _CHUNK)
    if magic == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(_Zstd(path.open("rb")), _CHUNK)
    return path.open("rb", _CHUNK)


class _Zstd(io.RawIOBase):
    """Frames one after the other, unpacked. EOFError if the last one is cut off; the library's own reader
    would take that for the end."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed, self._rest, self._unpacked = packed, b"", b""
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpacked:
            packed = self._rest or self._packed.read(_CHUNK // 64)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the zstd frame is cut off")
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._unpacked, self._rest = self._frame.decompress(packed), b""
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._unpacked))
        buffer[:count], self._unpacked = self._unpacked[:count], self._unpacked[count:]
        return count

    def close(self) -> None:
        self._packed.close()
        super().close()


def _records(stream: IO[bytes], path: Path, name: str) -> Iterator[Record]:
    start = stream.read(_CHUNK)
    start = start.removeprefix(_BOM)
    head = start.lstrip()[:1]
    spread = path.name.lower().removesuffix(".gz").removesuffix(".zst").endswith(".json")
    if head == b"[" or (spread and head == b"{" and not _is_whole(start.split(b"\n", 1)[0])):
        return _spread(stream, start, name)
    return _lines(stream, start, name)


def _is_whole(line: bytes) -> bool:
    try:
        decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(stream: IO[bytes], start: bytes, name: str) -> Iterator[Record]:
    """`start`: the part of the stream that was read already."""
    *whole, rest = start.split(b"\n")
    number = 0
    for line in whole:
        number += 1
        if line.strip():
            yield Record(name, number, line)
    while True:
        more = stream.readline(MAX_RECORD_BYTES)
        line, rest = rest + more, b""
        number += 1
        if len(line) >= MAX_RECORD_BYTES:
            while more and not more.endswith(b"\n"):
                more = stream.readline(MAX_RECORD_BYTES)
            yield Record(name, number, b"", _too_long())
        elif line.strip():
            yield Record(name, number, line.rstrip(b"\r\n"))
        if not more:
            return


def _spread(stream: IO[bytes], start: bytes, name: str) -> Iterator[Record]:
    """Elements of an array, or objects one after the other, wherever their lines break. Only brackets
    and strings are looked at, so that an error in one record does not affect the next."""
    held, at, begin, depth, line = start, 0, -1, 0, 1
    inside_array = start.lstrip()[:1] == b"["
    top = int(inside_array)
    while True:
        for token in _TOKENS.finditer(held, at):
            kind, at = token[0], token.end()
            if kind == b'"':
                at = token.start()
                break
            if kind in b"[{":
                if depth == top:
                    begin = token.start()
                depth += 1
            elif kind in b"]}":
                depth -= 1
                if depth == top and begin >= 0:
                    here = line + held.count(b"\n", 0, begin)
                    yield Record(name, here, held[begin:at])
                    begin = -1
        # What was returned is released.
        keep = begin if begin >= 0 else at
        line += held.count(b"\n", 0, keep)
        held, at, begin = held[keep:], at - keep, 0 if begin >= 0 else -1
        if len(held) > MAX_RECORD_BYTES:
            yield Record(name, line, b"", _too_long())
            return
        more = stream.read(_CHUNK)
        if not more:
            if held.strip(_BLANK) and (begin >= 0 or held.strip(_BLANK + b"]")):
                error = InvalidArgument("the file ends in the middle of it", reason="UNREADABLE")
                yield Record(name, line, held, error)
            return
        held += more


def _too_long() -> InvalidArgument:
    return InvalidArgument(
        f"the record has more than {MAX_RECORD_BYTES} bytes", reason="RECORD_TOO_LARGE"
    )


class LocalFiles:
    """The port ImportFiles, on the local disk."""

    files_of = staticmethod(files_of)
    records_of = staticmethod(records_of)
    chitchat_records = staticmethod(chitchat_records)
    parse = staticmethod(parse)
    report = ReportFile
    progress = ProgressFile
