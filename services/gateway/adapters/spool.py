"""The spool: turns that wait for interaction, on disk, by tenant (segments.py), limited, kept over restarts.

No tenant can fill it: each may have a fixed multiple of the free space waiting (the dynamic threshold of
A. K. Choudhury and E. L. Hahne, 1998), so that some space is always left for the next one.
"""

from __future__ import annotations

import fcntl
import json
import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from services.gateway.adapters.segments import Disk, Head, Segments
from services.gateway.codec.spool import decode_body, decode_line, encode_frame
from services.gateway.ports import Batch
from shared.language.errors import (
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from shared.language.turns import Turn

_log = logging.getLogger(__name__)
# How many times the free space a tenant may have waiting: one alone can use four fifths of the space, two that
# flood four ninths each.
_SHARE = 4
# How many files are kept open for appending.
_MOST_OPEN = 64
# A larger turn fits into no call.
_MOST_TURN_BYTES = 8 * 1024 * 1024
_FOLDER = "tenant="


class FileSpool:
    """Owned by one process; a second one over the same folder is refused (FailedPrecondition). Used by one
    thread, except for `waiting` and `count_of`."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 256 * 1024 * 1024,
        segment_bytes: int = 4 * 1024 * 1024,
        batch_turns: int = 500,
        batch_bytes: int = 2 * 1024 * 1024,
        disk: Disk | None = None,
    ) -> None:
        self._folder, self._disk = folder, disk or Disk()
        self._max_bytes, self._segment_bytes = max_bytes, segment_bytes
        self._batch_turns, self._batch_bytes = batch_turns, batch_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(folder / "lock")
        self._tenants: dict[str, Segments] = {}
        # Tenants whose file is open, the least recently used first.
        self._open: OrderedDict[str, None] = OrderedDict()
        self._heads: dict[str, Head] = {}
        self._bytes = 0
        for found in sorted(folder.glob(f"{_FOLDER}*")):
            self._bytes += self._of(found.name.removeprefix(_FOLDER)).bytes
        self._take_over()

    @property
    def pending(self) -> int:
        return sum(one.pending for one in self._tenants.values())

    def pending_of(self, tenant: str) -> int:
        found = self._tenants.get(tenant)
        return 0 if found is None else found.pending

    def tenants(self) -> list[str]:
        return [tenant for tenant, one in self._tenants.items() if one.pending]

    def append(self, turns: Sequence[Turn]) -> None:
        tenant, frames = turns[0].tenant, [encode_frame(turn) for turn in turns]
        self._check_room(tenant, frames)
        segments = self._of(tenant)
        with self._changing(segments):
            segments.append(frames)
        self._keep_open(tenant, segments)

    def head(self, tenant: str) -> Batch:
        """At most `batch_turns` turns and about `batch_bytes` bytes."""
        try:
            head = self._of(tenant).head(self._batch_turns, self._batch_bytes)
        except OSError as error:
            raise _failed(error) from error
        self._heads[tenant] = head
        return Batch(tenant, head.frames.turns, head.records, head.frames.unreadable)

    def advance(self, tenant: str) -> None:
        segments, head = self._of(tenant), self._heads.pop(tenant, None)
        if head is not None:  # otherwise it was dropped meanwhile
            with self._changing(segments):
                segments.advance(head)

    def drop_older(self, tenant: str, than: float) -> int:
        segments = self._of(tenant)
        with self._changing(segments):
            dropped = segments.drop_older(than)
        if dropped:
            self._heads.pop(tenant, None)
        return dropped

    def waiting(self, tenant: str, conversation_id: str) -> list[Turn]:
        found = self._turns(tenant, waiting=True)
        return [turn for turn in found if turn.conversation_id == conversation_id]

    def count_of(self, tenant: str, user_id: str) -> int:
        """Turns of a user in the files, forwarded or not. May be called in another thread."""
        return sum(turn.user_id == user_id for turn in self._turns(tenant, waiting=False))

    def close(self) -> None:
        for segments in self._tenants.values():
            segments.close()
        self._lock.close()

    def _turns(self, tenant: str, *, waiting: bool) -> Iterator[Turn]:
        segments = self._tenants.get(tenant)
        bodies = segments.turns(waiting=waiting) if segments else ()
        return (turn for body in bodies if (turn := decode_body(body)) is not None)

    def _of(self, tenant: str) -> Segments:
        if tenant not in self._tenants:
            folder = self._folder / f"{_FOLDER}{tenant}"
            self._tenants[tenant] = Segments(folder, self._disk, self._segment_bytes)
        return self._tenants[tenant]

    def _check_room(self, tenant: str, frames: Sequence[bytes]) -> None:
        if max(map(len, frames)) > _MOST_TURN_BYTES:
            raise InvalidArgument(
                f"a turn has more than {_MOST_TURN_BYTES} bytes", reason="TURN_TOO_LARGE"
            )
        size = sum(map(len, frames))
        mine = self._tenants[tenant].bytes if tenant in self._tenants else 0
        room = self._max_bytes - self._bytes
        if size > room or mine + size > _SHARE * (room - size):
            raise ResourceExhausted(
                f"{mine} bytes of tenant {tenant!r} wait in the spool, which has {room} bytes left",
                reason="SPOOL_FULL",
            )

    @contextmanager
    def _changing(self, segments: Segments) -> Iterator[None]:
        before = segments.bytes
        try:
            yield
        except OSError as error:
            raise _failed(error) from error
        finally:
            self._bytes += segments.bytes - before

    def _keep_open(self, tenant: str, segments: Segments) -> None:
        self._open[tenant] = None
        self._open.move_to_end(tenant)
        while len(self._open) > _MOST_OPEN:
            self._tenants[self._open.popitem(last=False)[0]].close()

    def _take_lines(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            turn = decode_line(line)
            if turn is None:
                _log.error("a line that an older version spooled cannot be read and is skipped")
                continue
            segments = self._of(turn.tenant)
            with self._changing(segments):
                segments.append([encode_frame(turn)])

    def _take_over(self) -> None:
        """Reads an older version's single queue once. What cannot be read now stays for the next start."""
        try:
            segment, offset = _old_position(self._folder)
            for path in sorted(self._folder.glob("[0-9]*.jsonl")):
                if int(path.stem) >= segment:
                    with path.open("rb") as file:
                        file.seek(offset if int(path.stem) == segment else 0)
                        self._take_lines(file)
                path.unlink()
            (self._folder / "position").unlink(missing_ok=True)
        except (OSError, Unavailable) as error:
            _log.error("turns that an older version spooled wait for the next start: %s", error)


def _old_position(folder: Path) -> tuple[int, int]:
    try:
        noted = json.loads((folder / "position").read_text())
        return int(noted["segment"]), int(noted["offset"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0


def _failed(error: OSError) -> Unavailable:
    return Unavailable(f"the spool's disk fails: {error}", reason="SPOOL_DISK", retry_after_s=1.0)


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
