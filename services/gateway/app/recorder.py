"""Logs exchanges without making anybody wait: to the spool at once, from there on in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from services.gateway.app.redacting import redacted
from services.gateway.ports import Batch, Sink, Spool
from shared.language.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    ResourceExhausted,
    TrimtabError,
    Unavailable,
)
from shared.language.messages import default_turn_id
from shared.language.turns import Turn
from shared.redaction.redactor import Redactor

_log = logging.getLogger(__name__)
_PASSING = (Unavailable, DeadlineExceeded, ResourceExhausted, Cancelled, Internal)
_LONGEST_WAIT_S = 5.0
# Turns gather this long before they are forwarded together: one call for many is what keeps the
# forwarding out of the chats' way.
_GATHERED_S = 0.25
_MANY = 200
_SAID_EVERY_S = 60.0


@dataclass(slots=True)
class RecorderCounts:
    """Turns, since the process started. `spooled` had to wait because interaction was away."""

    recorded: int = 0
    spooled: int = 0
    forwarded: int = 0
    # By reason: what interaction refused, and what never got there.
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    # Exchanges, by the reason they were not to be logged for.
    left_out: Counter[str] = field(default_factory=Counter)


class Recorder:
    """`record` is called on the event loop and never raises; `run` forwards until cancelled."""

    def __init__(self, spool: Spool, sink: Sink, redactor: Redactor | None = None) -> None:
        self._spool, self._sink, self._redactor = spool, sink, redactor or Redactor()
        self._wake, self._settled = asyncio.Event(), asyncio.Event()
        self._said_at = -_SAID_EVERY_S
        self.counts = RecorderCounts()
        self.away = ""
        # Why turns are being dropped right now; empty if they are not.
        self.dropping = ""

    @property
    def pending(self) -> int:
        return self._spool.pending

    def record(self, turns: Sequence[Turn]) -> list[Turn]:
        """Spools the turns and gives them as they are logged: redacted, and with ids made of what is
        left; nothing if they had to be dropped, which is counted. A turn spooled twice has one event
        id and counts once."""
        kept = [_named(redacted(turn, self._redactor)) for turn in turns]
        if not kept:
            return []
        try:
            self._spool.append(kept)
        except TrimtabError as error:
            self._drop(len(kept), error)
            return []
        self.dropping = ""
        self.counts.recorded += len(kept)
        if self.away:
            self.counts.spooled += len(kept)
        self._settled.clear()
        self._wake.set()
        return kept

    async def waiting(self, tenant: str, conversation_id: str) -> list[Turn]:
        """The turns of a conversation that are still on their way to interaction."""
        return await asyncio.to_thread(self._spool.waiting, tenant, conversation_id)

    def leave_out(self, reason: str) -> None:
        """An exchange that was not to be logged: counted, so that it is not missed."""
        self.counts.left_out[reason] += 1

    async def run(self) -> None:
        wait_s = 0.2
        while True:
            batch = self._spool.head()
            if not batch.records:
                self._wake.clear()
                self._settled.set()
                await self._wake.wait()
                await asyncio.sleep(_GATHERED_S)
                continue
            try:
                await self._forward(batch)
                wait_s = 0.2
                if self.pending < _MANY:
                    await asyncio.sleep(_GATHERED_S)
            except _PASSING as error:
                self._lost(error)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    async def flush(self, timeout_s: float) -> None:
        """Waits until nothing is pending, or interaction is away, or the time is over."""
        if self.pending and not self.away:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), timeout_s)

    def status(self) -> dict[str, object]:
        counts = self.counts
        return {
            "pending": self.pending,
            "recorded": counts.recorded,
            "spooled": counts.spooled,
            "forwarded": counts.forwarded,
            "refused": dict(counts.refused),
            "dropped": dict(counts.dropped),
            "dropping": self.dropping,
            "left_out": dict(counts.left_out),
            "away": self.away,
        }

    async def _forward(self, batch: Batch) -> None:
        try:
            refused = await self._sink.forward(batch.turns) if batch.turns else []
        except _PASSING:
            raise
        except TrimtabError as error:
            # Asked again it would be refused again, and everything behind it would wait for ever.
            _log.error("interaction refuses %s turns: %s", len(batch.turns), error)
            self.counts.refused[error.reason] += len(batch.turns)
        else:
            self.counts.forwarded += len(batch.turns) - len(refused)
            self.counts.refused.update(one.reason for one in refused)
        if batch.unreadable:
            self.counts.dropped["UNREADABLE"] += batch.unreadable
        self._spool.advance(batch)
        self.dropping = ""
        if self.away:
            _log.info("interaction is back")
        self.away = ""

    def _lost(self, error: TrimtabError) -> None:
        if not self.away:
            self.counts.spooled += self.pending
            _log.warning("interaction is away, turns wait in the spool: %s", error)
        self.away = error.message or error.reason
        self._settled.set()

    def _drop(self, turns: int, error: TrimtabError) -> None:
        """An alarm that goes on for as long as turns are dropped, but does not fill the disk with
        its own lines."""
        self.counts.dropped[error.reason] += turns
        self.dropping = error.reason
        if time.monotonic() - self._said_at >= _SAID_EVERY_S:
            self._said_at = time.monotonic()
            total = sum(self.counts.dropped.values())
            _log.error("turns are dropped, %s since the start: %s", total, error)


def _named(turn: Turn) -> Turn:
    return (
        turn if turn.turn_id else replace(turn, turn_id=default_turn_id(turn.index, turn.message))
    )
