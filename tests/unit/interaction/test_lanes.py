"""A tenant that floods is refused; another's calls go through as if it were not there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from services.interaction.turns.adapters.journal import EventLogJournal
from services.interaction.turns.adapters.lanes import Lanes
from shared.language.errors import ResourceExhausted
from shared.language.messages import text_message
from shared.language.topics import INTERACTION_LOGGED
from shared.language.turns import Turn
from shared.log.events import Event
from shared.log.memory import MemoryEventLog


@dataclass(frozen=True)
class Call:
    tenant: str
    number: int
    size: int = 1


def test_what_is_taken_goes_round_the_tenants_in_order() -> None:
    lanes: Lanes[Call] = Lanes(100)
    for number in range(4):
        _put(lanes, Call("loud", number))
    _put(lanes, Call("quiet", 0))
    taken = lanes.take(4, 0)
    assert [(call.tenant, call.number) for call in taken] == [
        ("loud", 0),
        ("quiet", 0),
        ("loud", 1),
        ("loud", 2),
    ]
    assert len(lanes) == 1


def test_there_is_always_room_for_who_comes_next() -> None:
    lanes: Lanes[Call] = Lanes(120)
    held = {}
    for tenant in ("first", "second", "third"):
        held[tenant] = _fill(lanes, tenant)
    assert held == {"first": 60, "second": 30, "third": 15}
    _put(lanes, Call("fourth", 0))


def test_a_lane_that_was_emptied_counts_for_nothing() -> None:
    lanes: Lanes[Call] = Lanes(10)
    assert _fill(lanes, "first") == 5
    for call in lanes.take(100, 0):
        lanes.release(call.tenant, call.size)
    assert _fill(lanes, "second") == 5


def _put(lanes: Lanes[Call], call: Call) -> None:
    lanes.reserve(call.tenant, call.size)
    lanes.put(call)


def _fill(lanes: Lanes[Call], tenant: str) -> int:
    number = 0
    try:
        while True:
            _put(lanes, Call(tenant, number))
            number += 1
    except ResourceExhausted as error:
        assert (error.reason, error.retry_after_s) == ("INTAKE_FULL", 1.0)
        return number


class SteppedLog(MemoryEventLog):
    """Publishes one batch for each `step`, as a broker that is busy does in its own time."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self._steps = 0, threading.Semaphore(0)

    def publish(self, events: Sequence[Event]) -> None:
        self.asked += 1
        self._steps.acquire()
        super().publish(events)

    async def step(self) -> None:
        """One batch goes out, and the next one asks."""
        asked = self.asked
        self._steps.release()
        async with asyncio.timeout(10):
            while self.asked == asked:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        # Who waited for it is told: the thread's word, the future, the task that awaits it.
        for _ in range(4):
            await asyncio.sleep(0)

    def flow(self) -> None:
        self._steps.release(1_000)


@contextmanager
def publishing(log: SteppedLog) -> Iterator[EventLogJournal]:
    journal = EventLogJournal(log, (INTERACTION_LOGGED,), batch_events=200, max_waiting=4_000)
    stop = threading.Event()
    thread = threading.Thread(target=journal.run, args=(stop,))
    thread.start()
    try:
        yield journal
    finally:
        log.flow()
        stop.set()
        thread.join()


def turns(tenant: str, count: int) -> list[Turn]:
    return [
        Turn(tenant, "c", index, text_message("user", "hello"), "ada", turn_id=f"t{index}")
        for index in range(count)
    ]


async def test_a_flood_of_one_tenant_is_refused_and_does_not_hold_up_another() -> None:
    log, batch, refused, over = SteppedLog(), turns("loud", 100), 0, False

    async def flood(journal: EventLogJournal) -> None:
        nonlocal refused
        while not over:
            try:
                await journal.write(batch)
            except ResourceExhausted:
                refused += 1
                await asyncio.sleep(0.001)

    async def steps_until(writing: asyncio.Task[None]) -> int:
        steps = 0
        while not writing.done() and steps < 10:
            await log.step()
            steps += 1
        return steps

    with publishing(log) as journal:
        flooding = [asyncio.create_task(flood(journal)) for _ in range(30)]
        await asyncio.sleep(0)
        assert refused == 10  # 3,000 events came, and 2,000 may wait
        took = []
        for _ in range(20):
            writing = asyncio.create_task(journal.write(turns("quiet", 1)))
            await asyncio.sleep(0)
            took.append(await steps_until(writing))
            assert len(journal._lanes) >= 10
        over = True
        log.flow()
        await asyncio.gather(*flooding)
    # The batch that was under way, and its own: behind all that waits it would be ten.
    assert max(took) <= 2


def test_a_tenant_alone_may_fill_half_of_the_room() -> None:
    lanes: Lanes[Call] = Lanes(100)
    _put(lanes, Call("only", 0, 50))
    with pytest.raises(ResourceExhausted):
        lanes.reserve("only", 1)
