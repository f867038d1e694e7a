"""Logs exchanges without making anybody wait: to the spool at once, from there on in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.gateway.app.ports import Batch, Sink, Spool
from services.gateway.domain.chat import turn_key
from services.gateway.domain.turns import LoggedTurn
from shared.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    ResourceExhausted,
    TrimtabError,
    Unavailable,
)

_log = logging.getLogger(__name__)
_PASSING = (Unavailable, DeadlineExceeded, ResourceExhausted, Cancelled, Internal)
_LONGEST_WAIT_S = 5.0


@dataclass(slots=True)
class RecorderCounts:
    """Turns, since the process started. `spooled` had to wait because interaction was away."""

    recorded: int = 0
    spooled: int = 0
    forwarded: int = 0
    # By reason: what interaction refused, and what never got there.
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)


class Recorder:
    """`record` is called on the event loop and never raises; `run` forwards until cancelled."""

    def __init__(self, spool: Spool, sink: Sink, remembered_turns: int = 200_000) -> None:
        self._spool, self._sink = spool, sink
        self._remembered = remembered_turns
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._wake, self._settled = asyncio.Event(), asyncio.Event()
        self.counts = RecorderCounts()
        self.away = ""

    @property
    def pending(self) -> int:
        return self._spool.pending

    def record(self, turns: Sequence[LoggedTurn]) -> None:
        """Spools the turns that this process has not logged yet. A history is sent with every call,
        so most of it was; what is logged twice all the same has one event id and counts once."""
        keys = {turn_key(turn): turn for turn in turns}
        fresh = {key: turn for key, turn in keys.items() if key not in self._seen}
        if not fresh:
            return
        try:
            self._spool.append(list(fresh.values()))
        except TrimtabError as error:
            self.counts.dropped[error.reason] += len(fresh)
            _log.error("%s turns are not logged: %s", len(fresh), error)
            return
        self._remember(fresh)
        self.counts.recorded += len(fresh)
        if self.away:
            self.counts.spooled += len(fresh)
        self._settled.clear()
        self._wake.set()

    async def run(self) -> None:
        wait_s = 0.2
        while True:
            batch = self._spool.head()
            if not batch.records:
                self._wake.clear()
                self._settled.set()
                await self._wake.wait()
                continue
            try:
                await self._forward(batch)
                wait_s = 0.2
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
            "away": self.away,
        }

    async def _forward(self, batch: Batch) -> None:
        try:
            refused = await self._sink.log_turns(batch.turns) if batch.turns else []
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
        if self.away:
            _log.info("interaction is back")
        self.away = ""

    def _lost(self, error: TrimtabError) -> None:
        if not self.away:
            self.counts.spooled += self.pending
            _log.warning("interaction is away, turns wait in the spool: %s", error)
        self.away = error.message or error.reason
        self._settled.set()

    def _remember(self, keys: dict[str, LoggedTurn]) -> None:
        self._seen.update(dict.fromkeys(keys))
        while len(self._seen) > self._remembered:
            self._seen.popitem(last=False)
