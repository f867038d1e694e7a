"""The spool: turns as lines of JSON in segment files, in order, bounded, kept over restarts.

Segments `00000001.jsonl`, `00000002.jsonl`, ... are written one after the other; `position` says
how far the first one has been forwarded. A segment is deleted when all of it has been, and the last
one emptied when nothing waits. A crash between forwarding and noting it down forwards a batch again,
which counts once by its event ids.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from google.protobuf.message import DecodeError

from services.gateway.codec.spool import decode_line, encode_line, read_line
from services.gateway.domain.turns import Spooled
from services.gateway.ports import Batch
from shared.language.errors import (
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from shared.language.turns import Turn

_log = logging.getLogger(__name__)


class FileSpool:
    """Owned by one process: a second one over the same folder is refused (FailedPrecondition)."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 256 * 1024 * 1024,
        segment_bytes: int = 4 * 1024 * 1024,
        batch_turns: int = 500,
        batch_bytes: int = 2 * 1024 * 1024,
    ) -> None:
        self._folder = folder
        self._max_bytes, self._segment_bytes = max_bytes, segment_bytes
        self._batch_turns, self._batch_bytes = batch_turns, batch_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(folder / "lock")
        self._segment, self._offset = self._found_position()
        self._last = max([self._segment, *self._numbers()])
        _cut_torn_line(self._path(self._last))
        self._out, self._written = self._opened(self._last)
        self.pending, self._bytes = self._measure()

    def append(self, turns: Sequence[Turn]) -> None:
        lines = b"".join(encode_line(turn) for turn in turns)
        if self._bytes + len(lines) > self._max_bytes:
            raise ResourceExhausted(
                f"the spool holds {self._bytes} bytes, its limit is {self._max_bytes}",
                reason="SPOOL_FULL",
            )
        try:
            self._write(lines)
        except OSError as error:
            raise Unavailable(
                f"the spool cannot be written: {error}", reason="SPOOL_DISK"
            ) from error
        self.pending += len(turns)
        self._bytes += len(lines)

    def head(self) -> Batch:
        """At most `batch_turns` turns and about `batch_bytes` bytes."""
        segment, offset = self._segment, self._offset
        lines: list[bytes] = []
        with self._path(segment).open("rb") as file:
            file.seek(offset)
            while len(lines) < self._batch_turns and file.tell() - offset < self._batch_bytes:
                line = file.readline()
                if not line:
                    break
                lines.append(line)
            end = file.tell()
        if not lines and segment < self._last:
            self._next_segment()
            return self.head()
        turns = [turn for line in lines if (turn := _readable(line)) is not None]
        return Batch(turns, len(lines), len(lines) - len(turns), (segment, end))

    def advance(self, batch: Batch) -> None:
        self._bytes -= batch.end[1] - self._offset
        self.pending -= batch.records
        self._segment, self._offset = batch.end
        if self.pending or self._segment != self._last:
            self._note_position()
            return
        # Nothing waits: what was forwarded does not stay on the disk. Noted before it is cut: killed in
        # between, turns are sent again, which counts once; the other way round new ones could be
        # passed over.
        self._offset = self._bytes = self._written = 0
        self._note_position()
        os.truncate(self._out.fileno(), 0)

    def waiting(self, tenant: str, conversation_id: str) -> list[Turn]:
        segment, offset = self._segment, self._offset
        found: list[Turn] = []
        for number in (one for one in self._numbers() if one >= segment):
            try:
                with self._path(number).open("rb") as file:
                    file.seek(offset if number == segment else 0)
                    lines = [line for line in file if conversation_id.encode() in line]
            except FileNotFoundError:
                continue  # forwarded in the meantime
            found += [turn for line in lines if (turn := _decoded(line)) is not None]
        return [
            turn
            for turn in found
            if (turn.tenant, turn.conversation_id) == (tenant, conversation_id)
        ]

    def close(self) -> None:
        self._out.close()
        self._lock.close()

    def _write(self, lines: bytes) -> None:
        if self._written >= self._segment_bytes:
            self._out.close()
            self._last += 1
            self._out, self._written = self._opened(self._last)
        try:
            if self._out.write(lines) != len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.truncate(self._out.fileno(), self._written)
            raise
        self._written += len(lines)

    def _opened(self, number: int) -> tuple[IO[bytes], int]:
        """To be added to, and its size."""
        path = self._path(number)
        return path.open("ab", buffering=0), path.stat().st_size

    def _next_segment(self) -> None:
        done = self._path(self._segment)
        self._segment, self._offset = self._segment + 1, 0
        self._note_position()
        done.unlink()

    def _note_position(self) -> None:
        draft = self._folder / "position.new"
        draft.write_text(json.dumps({"segment": self._segment, "offset": self._offset}))
        draft.replace(self._folder / "position")

    def _found_position(self) -> tuple[int, int]:
        first = min(self._numbers(), default=1)
        try:
            noted = json.loads((self._folder / "position").read_text())
            segment, offset = int(noted["segment"]), int(noted["offset"])
        except (OSError, ValueError, KeyError, TypeError):
            return first, 0
        for number in self._numbers():
            if number < segment:  # noted as done, and killed before it was deleted
                self._path(number).unlink()
        path = self._path(segment)
        return segment, min(offset, path.stat().st_size if path.exists() else 0)

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob("[0-9]*.jsonl"))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.jsonl"

    def _measure(self) -> tuple[int, int]:
        """Records and bytes that wait."""
        records = waiting = 0
        for number in self._numbers():
            with self._path(number).open("rb") as file:
                file.seek(self._offset if number == self._segment else 0)
                for line in file:
                    records, waiting = records + 1, waiting + len(line)
        return records, waiting


def _locked(path: Path) -> IO[str]:
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise FailedPrecondition(
            f"another gateway uses the spool {path.parent}; give each its own TRIMTAB_DATA",
            reason="SPOOL_TAKEN",
        ) from error
    return lock


def _cut_torn_line(path: Path) -> None:
    """A process killed while it wrote leaves half a line: that turn was not answered for yet."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def _decoded(line: bytes) -> Turn | None:
    try:
        return decode_line(line)
    except (ValueError, KeyError, TypeError, DecodeError, InvalidArgument):
        return None  # torn, or counted when its turn to be forwarded comes


def _readable(line: bytes) -> Spooled | None:
    try:
        return read_line(line)
    except (ValueError, KeyError, TypeError, DecodeError) as error:
        _log.error("a line of the spool cannot be read and is dropped: %s", error)
        return None
