"""The outbox publishes everything that can be published, whatever cannot."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import sqlalchemy as sa

from shared.log.events import Event
from shared.log.memory import MemoryEventLog
from shared.state.database import Database
from shared.state.outbox import OutboxRelay
from shared.state.tables import OUTBOX

TIME = datetime(2026, 1, 1, tzinfo=UTC)


def _event(number: int, size: int = 2) -> Event:
    return Event("out.v1", f"e{number}", "k", b"x" * size, "test", TIME)


def _filled(database: Database, sizes: list[int]) -> None:
    with database.begin() as transaction:
        for number, size in enumerate(sizes):
            transaction.emit(_event(number, size))


def test_an_event_that_is_too_large_is_set_aside_and_the_others_go_on() -> None:
    log, database = MemoryEventLog(max_message_bytes=10), Database("sqlite://")
    _filled(database, [2, 99, 3, 4, 99, 5])
    relay = OutboxRelay(database, log)
    assert relay.relay_once() == 6
    assert [record.event.id for record in log.records("out.v1")] == ["e0", "e2", "e3", "e5"]
    assert database.counts() == [
        ("outbox", "taken", "", 2),
        ("outbox", "waiting", "EVENT_TOO_LARGE", 2),
    ]
    with database.read() as connection:
        kept = connection.execute(sa.select(OUTBOX.c.event_id, OUTBOX.c.refused)).all()
    assert kept == [("e1", "EVENT_TOO_LARGE"), ("e4", "EVENT_TOO_LARGE")]
    assert relay.relay_once() == 0  # it is not tried over and over
    assert database.outbox_pending() == 2


def test_the_relay_s_thread_outlives_it() -> None:
    log, database = MemoryEventLog(max_message_bytes=10), Database("sqlite://")
    stop = threading.Event()
    thread = threading.Thread(target=OutboxRelay(database, log).run, args=(stop,), daemon=True)
    thread.start()
    _filled(database, [99])
    _filled(database, [1])
    deadline = time.monotonic() + 5
    while not log.records("out.v1"):
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    stop.set()
    database.wake()
    thread.join(5)
    assert not thread.is_alive()
