"""A tenant that floods is refused; another's calls go through as if it were not there."""

from __future__ import annotations

import asyncio
import threading
import time
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


class SlowLog(MemoryEventLog):
    """Takes 100 microseconds an event, as a broker that is busy does."""

    def publish(self, events: Sequence[Event]) -> None:
        time.sleep(len(events) * 100e-6)
        super().publish(events)


@contextmanager
def publishing() -> Iterator[EventLogJournal]:
    journal = EventLogJournal(
        SlowLog(), (INTERACTION_LOGGED,), batch_events=200, max_waiting=20_000
    )
    stop = threading.Event()
    thread = threading.Thread(target=journal.run, args=(stop,))
    thread.start()
    try:
        yield journal
    finally:
        stop.set()
        thread.join()


def turns(tenant: str, count: int) -> list[Turn]:
    return [
        Turn(tenant, "c", index, text_message("user", "hello"), "ada", turn_id=f"t{index}")
        for index in range(count)
    ]


async def test_a_flood_of_one_tenant_is_refused_and_does_not_hold_up_another() -> None:
    batch, refused, over = turns("loud", 100), 0, False

    async def flood(journal: EventLogJournal) -> None:
        nonlocal refused
        while not over:
            try:
                await journal.write(batch)
            except ResourceExhausted:
                refused += 1
                await asyncio.sleep(0.05)

    with publishing() as journal:
        flooding = [asyncio.create_task(flood(journal)) for _ in range(150)]
        await asyncio.sleep(0)
        took: list[float] = []
        for _ in range(50):
            began = time.perf_counter()
            await journal.write(turns("quiet", 1))
            took.append(time.perf_counter() - began)
        over = True
        await asyncio.gather(*flooding)
    assert refused >= 50  # 15,000 events came, and 10,000 may wait
    assert sorted(took)[48] < 0.5  # behind those 10,000 it would be a second of publishing at least


def test_a_tenant_alone_may_fill_half_of_the_room() -> None:
    lanes: Lanes[Call] = Lanes(100)
    _put(lanes, Call("only", 0, 50))
    with pytest.raises(ResourceExhausted):
        lanes.reserve("only", 1)
