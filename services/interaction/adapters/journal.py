"""The journal on the event log: concurrent calls are gathered and published at once.

`EventLog.publish` blocks until every replica has its events. One thread takes whatever has queued
up while the publish before it ran: a hundred calls cost one round trip, and order is kept.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from services.interaction.codec import events_of
from services.interaction.domain import Feedback, Preference, Turn
from shared.errors import InvalidArgument, ResourceExhausted, TrimtabError, Unavailable
from shared.events import Event, EventLog


@dataclass(frozen=True, slots=True)
class _Call:
    events: list[Event]
    done: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop

    def finish(self, error: BaseException | None) -> None:
        self.loop.call_soon_threadsafe(self._set, error)

    def _set(self, error: BaseException | None) -> None:
        if self.done.done():
            return  # the caller has gone
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class EventLogJournal:
    """`run` is the publishing thread; `write` is called from the event loop."""

    def __init__(
        self,
        log: EventLog,
        topics: Sequence[str],
        *,
        batch_events: int = 2000,
        max_waiting: int = 50_000,
    ) -> None:
        self._log, self._topics = log, topics
        self._batch_events, self._max_waiting = batch_events, max_waiting
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._topics_made = False

    async def write(self, items: Sequence[Turn | Feedback | Preference]) -> None:
        events = events_of(items)
        self._admit(len(events))
        loop = asyncio.get_running_loop()
        call = _Call(events, loop.create_future(), loop)
        self._calls.put(call)
        await call.done

    def run(self, stop: threading.Event) -> None:
        """Publishes until `stop` is set, then what is still queued."""
        while not stop.is_set() or not self._calls.empty():
            try:
                first = self._calls.get(timeout=0.2)
            except queue.Empty:
                continue
            self._publish(self._gather(first))

    def _admit(self, events: int) -> None:
        with self._lock:
            if self._waiting + events > self._max_waiting:
                raise ResourceExhausted(
                    f"{self._waiting} events wait for Kafka; come back in a moment",
                    reason="INTAKE_FULL",
                    retry_after_s=1.0,
                )
            self._waiting += events

    def _gather(self, first: _Call) -> list[_Call]:
        calls, size = [first], len(first.events)
        while size < self._batch_events:
            try:
                calls.append(self._calls.get_nowait())
            except queue.Empty:
                break
            size += len(calls[-1].events)
        return calls

    def _publish(self, calls: list[_Call]) -> None:
        error = self._attempt([event for call in calls for event in call.events])
        if isinstance(error, InvalidArgument) and len(calls) > 1:
            # One call's event can not be written at all; the others must not suffer for it.
            for call in calls:
                self._finish(call, self._attempt(call.events))
            return
        for call in calls:
            self._finish(call, error)

    def _finish(self, call: _Call, error: BaseException | None) -> None:
        with self._lock:
            self._waiting -= len(call.events)
        call.finish(error)

    def _attempt(self, events: list[Event]) -> BaseException | None:
        try:
            if not self._topics_made:
                self._log.ensure_topics(self._topics)
                self._topics_made = True
            self._log.publish(events)
        except TrimtabError as error:
            return error
        except Exception as error:  # noqa: BLE001
            # The thread must outlive whatever the client library raises; the caller hears of it.
            away = Unavailable(f"could not publish: {error!r}", retry_after_s=1.0)
            away.__cause__ = error
            return away
        return None
