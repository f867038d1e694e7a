"""Logs exchanges without delaying anybody: to the spool, and from there in order, tenant by tenant."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from services.gateway.ports import Batch, Sink, Spool
from shared.language.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    TrimtabError,
    Unavailable,
)
from shared.language.turns import Turn
from shared.redaction.redactor import Redactor

_log = logging.getLogger(__name__)
# Errors that pass by themselves. Every other error needs somebody's help and is logged as an error.
_PASSING = (Unavailable, DeadlineExceeded, ResourceExhausted, Cancelled)
_MANY = 200
# Calls to interaction at the same time, over all tenants.
_CALLS = 4
_SAID_EVERY_S = 60.0
_AGED_EVERY_S = 60.0
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Pace:
    """In seconds. `gathered`: turns gather this long before they are forwarded together, as one call for many
    is what keeps the forwarding out of the chats' way. The pause after a failed call doubles from
    `first_pause` to `longest_pause`."""

    gathered: float = 0.25
    first_pause: float = 0.2
    longest_pause: float = 5.0


@dataclass(slots=True)
class RecorderCounts:
    """Turns, since the process started. `spooled` had to wait because interaction did not accept them."""

    recorded: int = 0
    spooled: int = 0
    forwarded: int = 0
    # By reason: what interaction refused, and what never reached it.
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    # Exchanges that were not to be logged, by reason.
    left_out: Counter[str] = field(default_factory=Counter)


class Recorder:
    """`record` is called on the event loop and never raises; `run` forwards until cancelled.

    Only turns that interaction calls invalid are given up. If it calls a whole call invalid, the call is halved
    until the invalid turn is found. On any other error (interaction or Kafka unavailable, a tenant's share of
    the intake used up, credentials refused, a method unknown, a failing disk) turns wait in the spool and are
    sent again until it works. A tenant whose turns wait does not delay others.
    """

    def __init__(
        self,
        spool: Spool,
        sink: Sink,
        redactor: Redactor | None = None,
        *,
        keep_days: Callable[[str], float] = lambda tenant: 30.0,
        clock: Callable[[], float] = time.time,
        pace: Pace | None = None,
    ) -> None:
        """`keep_days`: how long a tenant's turns may wait before they are removed. `clock` gives Unix times."""
        self._spool, self._sink, self._redactor = spool, sink, redactor or Redactor()
        self._keep_days, self._clock, self._pace = keep_days, clock, pace or Pace()
        self._wake, self._settled = asyncio.Event(), asyncio.Event()
        self._calls = asyncio.Semaphore(_CALLS)
        self._forwarders: dict[str, asyncio.Task[None]] = {}
        self._said_at: dict[str, float] = {}
        self.counts = RecorderCounts()
        # For each tenant whose turns wait: why.
        self.waits: dict[str, TrimtabError] = {}
        # Why turns are being dropped now; empty if they are not.
        self.dropping = ""

    @property
    def pending(self) -> int:
        return self._spool.pending

    @property
    def away(self) -> str:
        """Why turns wait, in words; empty if none do. If there are several reasons, the worst."""
        errors = sorted(self.waits.values(), key=lambda one: isinstance(one, _PASSING))
        return (errors[0].message or errors[0].reason) if errors else ""

    @property
    def blocked(self) -> Counter[str]:
        """Tenants whose turns wait until somebody helps, by reason."""
        errors = self.waits.values()
        return Counter(one.reason for one in errors if not isinstance(one, _PASSING))

    def record(self, turns: Sequence[Turn]) -> list[Turn]:
        """Spools the turns, all of one tenant, and returns them as they are logged: redacted, with ids made of
        what is left. Returns nothing if they had to be dropped, which is counted. A turn that is spooled
        twice has one event id and counts once."""
        kept = [_named(self._redactor.turn(turn)) for turn in turns]
        if not kept:
            return []
        try:
            self._spool.append(kept)
        except TrimtabError as error:
            self._drop(len(kept), error)
            return []
        self.dropping = ""
        self.counts.recorded += len(kept)
        if kept[0].tenant in self.waits:
            self.counts.spooled += len(kept)
        self._settled.clear()
        self._wake.set()
        return kept

    async def waiting(self, tenant: str, conversation_id: str) -> list[Turn]:
        """The turns of a conversation that were not forwarded to interaction yet."""
        return await asyncio.to_thread(self._spool.waiting, tenant, conversation_id)

    def leave_out(self, reason: str) -> None:
        """Counts an exchange that was not to be logged."""
        self.counts.left_out[reason] += 1

    async def run(self) -> None:
        """Runs one forwarder for each tenant with waiting turns."""
        try:
            while True:
                self._wake.clear()
                self._forget_aged()
                for tenant in self._spool.tenants():
                    if tenant not in self._forwarders:
                        self._start(tenant)
                self._settle()
                await self._come(self._wake, _AGED_EVERY_S)
        finally:
            for task in self._forwarders.values():
                task.cancel()

    async def flush(self, timeout_s: float) -> None:
        """Waits until all that can be forwarded now was forwarded, or the time is over."""
        if self.pending and not self._all_wait():
            await self._come(self._settled, timeout_s)

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
            "blocked": dict(self.blocked),
            "waiting_tenants": len(self.waits),
        }

    def words(self) -> str:
        """The state of logging, in words, for the gateway's health."""
        if self.dropping:
            return f"turns are being dropped ({self.dropping})"
        if self.waits:
            return f"{self.pending} turns wait in the spool: {self.away}"
        return "ok"

    @staticmethod
    async def _come(event: asyncio.Event, within_s: float) -> None:
        """Waits for the event, at most so long. Not by wait_for, which in Python 3.11 loses a cancellation that
        comes at the same moment as the event."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await event.wait()

    def _start(self, tenant: str) -> None:
        def ended(_: asyncio.Task[None]) -> None:
            del self._forwarders[tenant]
            self._wake.set()  # something may have arrived since it looked

        task = asyncio.create_task(self._forward_all(tenant), name=f"forward {tenant}")
        self._forwarders[tenant] = task
        task.add_done_callback(ended)

    async def _forward_all(self, tenant: str) -> None:
        """Until no turns of the tenant wait."""
        pause_s = self._pace.first_pause
        await asyncio.sleep(self._pace.gathered)
        while self._spool.pending_of(tenant):
            try:
                async with self._calls:
                    await self._forward(self._spool.head(tenant))
            except TrimtabError as error:
                self._wait(tenant, error)
            except Exception as error:  # noqa: BLE001 - logged; the turns are still there
                _log.exception("turns of tenant %s cannot be forwarded", tenant)
                self._wait(tenant, Internal(f"a defect in the gateway: {type(error).__name__}"))
            if tenant in self.waits:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, self._pace.longest_pause)
                continue
            pause_s = self._pace.first_pause
            if 0 < self._spool.pending_of(tenant) < _MANY:
                await asyncio.sleep(self._pace.gathered)

    async def _forward(self, batch: Batch) -> None:
        tenant = batch.tenant
        refused = await self._send(tenant, batch.turns)
        self.counts.forwarded += len(batch.turns) - len(refused)
        self.counts.refused.update(refused)
        if batch.unreadable:
            _log.error(
                "%s damaged parts of the spool cannot be read and are skipped", batch.unreadable
            )
            self.counts.dropped["UNREADABLE"] += batch.unreadable
        if self.waits.pop(tenant, None) is not None:
            _log.warning("turns of tenant %s are forwarded again", tenant)
        self.dropping = ""
        try:
            self._spool.advance(tenant)
        except Unavailable as error:
            # The turns were forwarded; the position is written as soon as the disk works.
            self._say(error.reason, "the position in the spool cannot be written: %s", error)

    async def _send(self, tenant: str, turns: Sequence[bytes]) -> list[str]:
        """The reasons of what was refused finally."""
        if not turns:
            return []
        try:
            return [one.reason for one in await self._sink.forward(tenant, turns)]
        except InvalidArgument as error:
            if len(turns) == 1:
                _log.error("interaction refuses a turn of tenant %s as invalid: %s", tenant, error)
                return [error.reason]
        middle = len(turns) // 2
        return [
            *await self._send(tenant, turns[:middle]),
            *await self._send(tenant, turns[middle:]),
        ]

    def _wait(self, tenant: str, error: TrimtabError) -> None:
        if tenant not in self.waits:
            self.counts.spooled += self._spool.pending_of(tenant)
            _log.warning("turns of tenant %s wait in the spool: %s", tenant, error)
        self.waits[tenant] = error
        if not isinstance(error, _PASSING):
            words = "turns wait in the spool until somebody helps: %s: %s"
            self._say(error.reason, words, error.reason, error)
        self._settle()

    def _settle(self) -> None:
        if not self.pending or self._all_wait():
            self._settled.set()

    def _all_wait(self) -> bool:
        return all(tenant in self.waits for tenant in self._spool.tenants())

    def _forget_aged(self) -> None:
        for tenant in self._spool.tenants():
            oldest = self._clock() - self._keep_days(tenant) * _DAY_S
            try:
                aged = self._spool.drop_older(tenant, oldest)
            except Unavailable as error:
                self._say(error.reason, "old turns cannot be removed from the spool: %s", error)
                continue
            if aged:
                self.counts.dropped["SPOOL_AGE"] += aged
                self._say("SPOOL_AGE", "%s turns waited for too long and are dropped", aged)

    def _drop(self, turns: int, error: TrimtabError) -> None:
        self.counts.dropped[error.reason] += turns
        self.dropping = error.reason
        total = sum(self.counts.dropped.values())
        self._say("dropped", "turns are dropped, %s since the start: %s", total, error)

    def _say(self, about: str, words: str, *details: object) -> None:
        """Logs an alarm again and again while its cause lasts, but not so often that the log fills the disk."""
        now = self._clock()
        if now - self._said_at.get(about, -_SAID_EVERY_S) >= _SAID_EVERY_S:
            self._said_at[about] = now
            _log.error(words, *details)


def _named(turn: Turn) -> Turn:
    return turn if turn.turn_id else replace(turn, turn_id=turn.id)
