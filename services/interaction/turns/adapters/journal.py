"""The journal on the event log: concurrent calls are published together.

`EventLog.publish` blocks until every replica has its events. One thread publishes whatever was queued during
the publish before it: a hundred calls cost one round trip, and order is kept within a tenant. Each tenant has
a lane of its own (lanes.py).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from services.interaction.turns.adapters.lanes import Lanes
from services.interaction.turns.codec import events_of
from services.interaction.turns.ports import Item
from shared.language.errors import InvalidArgument, TrimtabError, Unavailable
from shared.log.events import Event, EventLog


@dataclass(frozen=True, slots=True)
class _Call:
    tenant: str
    events: list[Event]
    done: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop

    @property
    def size(self) -> int:
        return len(self.events)

    def finish(self, error: BaseException | None) -> None:
        self.loop.call_soon_threadsafe(self._set, error)

    def _set(self, error: BaseException | None) -> None:
        if self.done.done():
            return  # the caller is gone
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
        self._batch_events = batch_events
        self._lanes: Lanes[_Call] = Lanes(max_waiting)
        self._topics_made = False

    async def write(self, items: Sequence[Item]) -> None:
        """Of one tenant."""
        tenant, loop = items[0].tenant, asyncio.get_running_loop()
        self._lanes.reserve(tenant, len(items))
        try:
            events = events_of(items)
        except BaseException:
            self._lanes.release(tenant, len(items))
            raise
        call = _Call(tenant, events, loop.create_future(), loop)
        self._lanes.put(call)
        await call.done

    def run(self, stop: threading.Event) -> None:
        """Publishes until `stop` is set, then what is still queued."""
        while not stop.is_set() or self._lanes:
            calls = self._lanes.take(self._batch_events, 0.2)
            if calls:
                self._publish(calls)

    def _publish(self, calls: list[_Call]) -> None:
        error = self._attempt([event for call in calls for event in call.events])
        if isinstance(error, InvalidArgument) and len(calls) > 1:
            # An event of one call cannot be written at all; the others must not be affected.
            for call in calls:
                self._finish(call, self._attempt(call.events))
            return
        for call in calls:
            self._finish(call, error)

    def _finish(self, call: _Call, error: BaseException | None) -> None:
        self._lanes.release(call.tenant, call.size)
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
            # The thread must survive whatever the client library raises; the caller gets the error.
            away = Unavailable(f"the events could not be published: {error!r}", retry_after_s=1.0)
            away.__cause__ = error
            return away
        return None
