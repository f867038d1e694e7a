"""One tenant's waiting turns: frames in segment files, in order, kept over restarts.

Segments `00000001.turns`, `00000002.turns`, ... are written one after the other. A segment is removed once all
of it was forwarded, also the last one; `position` says how far the first one was forwarded. Numbers are never
reused, so that nothing is skipped if the position could not be written on a full disk: at worst turns are
sent again, and count once by their event ids.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from services.gateway.codec.spool import Frames, split

_ALL = 1 << 62


class Disk:
    """Operations on files. Raises OSError as they do."""

    def open(self, path: Path) -> IO[bytes]:
        """For appending, not buffered."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab", buffering=0)

    def write(self, file: IO[bytes], content: bytes) -> None:
        """Writes everything or raises OSError."""
        if file.write(content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def replace(self, path: Path, text: str) -> None:
        """After a kill the old content or the new one is there, never half of one."""
        draft = path.with_suffix(".new")
        draft.write_text(text)
        draft.replace(path)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Head:
    """The oldest waiting turns. `end`: the segment and the offset behind them."""

    frames: Frames
    end: tuple[int, int]

    @property
    def records(self) -> int:
        return len(self.frames.turns) + self.frames.unreadable


class Segments:
    """Used by one process. `pending`: waiting turns and damaged parts; `bytes`: their size."""

    def __init__(self, folder: Path, disk: Disk, segment_bytes: int) -> None:
        self._folder, self._disk, self._segment_bytes = folder, disk, segment_bytes
        self._out: IO[bytes] | None = None
        self._done: list[Path] = []
        self._segment, self._offset = self._found_position()
        numbers = self._numbers()
        self._last = numbers[-1] if numbers else self._segment
        if numbers:
            self._cut_torn_end(self._path(self._last))
        self._written = self._size(self._last)
        self.pending, self.bytes = self._measure()

    def append(self, frames: Sequence[bytes]) -> None:
        """All or none. OSError if the disk fails."""
        content = b"".join(frames)
        if self._written >= self._segment_bytes:
            with suppress(OSError):  # otherwise the full one is written on
                self._begin_segment()
        if self._out is None:
            self._out = self._disk.open(self._path(self._last))
        try:
            self._disk.write(self._out, content)
        except OSError:
            os.truncate(self._out.fileno(), self._written)
            raise
        self._written += len(content)
        self.pending += len(frames)
        self.bytes += len(content)

    def head(self, most: int, most_bytes: int) -> Head:
        """At most `most` turns and about `most_bytes`. OSError if the disk fails."""
        while True:
            frames = self._read(self._segment, self._offset, most, most_bytes)
            if frames.consumed or self._segment == self._last:
                return Head(frames, (self._segment, self._offset + frames.consumed))
            self._next_segment()

    def advance(self, head: Head) -> None:
        """Removes what `head` returned last. On OSError (the disk fails) it is still not returned again until
        the process ends."""
        self.bytes -= head.end[1] - self._offset
        self.pending -= head.records
        self._segment, self._offset = head.end
        if self._segment == self._last and self._offset >= self._written:
            self._empty()
            return
        text = json.dumps({"segment": self._segment, "offset": self._offset})
        self._disk.replace(self._folder / "position", text)

    def drop_older(self, than: float) -> int:
        """Removes segments that were last written before `than` (Unix time); how many records waited."""
        dropped = 0
        while self._segment < self._last and self._age_of(self._segment) < than:
            everything = self._size(self._segment) + 1
            frames = self._read(self._segment, self._offset, _ALL, everything)
            dropped += len(frames.turns) + frames.unreadable
            self.pending -= len(frames.turns) + frames.unreadable
            self.bytes -= frames.consumed
            self._next_segment()
        if self.pending and self._age_of(self._last) < than:
            dropped += self.pending
            self._empty()
        return dropped

    def turns(self, *, waiting: bool) -> Iterator[bytes]:
        """All turns in the files, or only waiting ones. May be called in another thread."""
        first, offset = self._segment, self._offset
        for number in self._numbers():
            if waiting and number < first:
                continue
            try:
                piece = self._path(number).read_bytes()
            except FileNotFoundError:
                continue  # forwarded meanwhile
            start = offset if waiting and number == first else 0
            yield from split(piece[start:], _ALL, is_end=True).turns

    def close(self) -> None:
        """Opened again when something is appended."""
        if self._out is not None:
            self._out.close()
            self._out = None

    @property
    def is_open(self) -> bool:
        return self._out is not None

    def _begin_segment(self) -> None:
        opened = self._disk.open(self._path(self._last + 1))
        self.close()
        self._out, self._written = opened, 0
        self._last += 1

    def _next_segment(self) -> None:
        self._remove(self._path(self._segment))
        following = [number for number in self._numbers() if number > self._segment]
        self._segment, self._offset = following[0] if following else self._last, 0

    def _empty(self) -> None:
        """Once nothing waits: what was forwarded does not stay on the disk."""
        done = self._path(self._last)
        self.close()
        self._last += 1
        self._segment, self._offset = self._last, 0
        self._written = self.bytes = self.pending = 0
        self._remove(done)

    def _remove(self, done: Path) -> None:
        """Also those that could not be removed before."""
        self._done.append(done)
        while self._done:
            self._disk.remove(self._done[0])
            del self._done[0]

    def _read(self, number: int, offset: int, most: int, most_bytes: int) -> Frames:
        """From `offset` on, within one segment."""
        path = self._path(number)
        if not path.exists():
            return Frames([], 0, 0, 0)
        size = most_bytes
        with path.open("rb") as file:
            while True:
                file.seek(offset)
                piece = file.read(size)
                frames = split(piece, most, is_end=len(piece) < size)
                if frames.consumed or len(piece) < size:
                    return frames
                size *= 2  # one frame alone is larger

    def _found_position(self) -> tuple[int, int]:
        """Where the first record is that was not forwarded."""
        numbers = self._numbers()
        segment, offset = self._noted_position()
        for number in numbers:
            if number < segment:  # forwarded, and killed before it was removed
                self._disk.remove(self._path(number))
        left = [number for number in numbers if number >= segment]
        if segment in left:
            return segment, min(offset, self._size(segment))
        return (left[0] if left else segment + 1), 0

    def _noted_position(self) -> tuple[int, int]:
        try:
            noted = json.loads((self._folder / "position").read_text())
            return int(noted["segment"]), int(noted["offset"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, 0

    def _measure(self) -> tuple[int, int]:
        records = waiting = 0
        for number in self._numbers():
            start = self._offset if number == self._segment else 0
            frames = split(self._path(number).read_bytes()[start:], _ALL, is_end=True)
            records += len(frames.turns) + frames.unreadable
            waiting += frames.consumed
        return records, waiting

    def _cut_torn_end(self, path: Path) -> None:
        """A process killed while it writes leaves half a frame; nobody was told that this turn was kept."""
        piece = path.read_bytes()
        whole = split(piece, _ALL, is_end=True).whole
        if whole < len(piece):
            os.truncate(path, whole)

    def _age_of(self, number: int) -> float:
        try:
            return self._path(number).stat().st_mtime
        except FileNotFoundError:
            return time.time()

    def _size(self, number: int) -> int:
        path = self._path(number)
        return path.stat().st_size if path.exists() else 0

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob("[0-9]*.turns"))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.turns"
