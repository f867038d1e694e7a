"""Expired data is removed, by tenant, and sizes stay flat however many years pass."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from shared.language.retention import Keep, RetentionPolicy
from shared.language.times import now
from shared.log.events import Event
from shared.log.memory import MemoryEventLog
from shared.privacy.retention import AgedRows, Aging, Retention
from shared.state.database import Database, Transaction
from shared.state.outbox import OutboxRelay
from shared.state.tables import OUTBOX, SEEN, SEEN_MARKS

TABLES = sa.MetaData()
SAID = sa.Table(
    "said",
    TABLES,
    sa.Column("tenant", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("time_us", sa.BigInteger, nullable=False, index=True),
    sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()),
)
NOTES = sa.Table(
    "notes",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.Float, nullable=False, index=True),
)
START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, TABLES)
    yield opened
    opened.close()


def _retention(database: Database, clock: Clock, **rules: Keep) -> Retention:
    policy = RetentionPolicy({"*": Keep(store_days=30), **rules})
    aging = [
        AgedRows("said", SAID, SAID.c.time_us, in_microseconds=True, only=~SAID.c.pinned),
        AgedRows("notes", NOTES, NOTES.c.time),
    ]
    return Retention(database, aging, policy, clock, seen_days=3)


def _say(
    database: Database, tenant: str, number: int, time: datetime, pinned: bool = False
) -> None:
    row = {"tenant": tenant, "number": number, "pinned": pinned}
    with database.begin() as transaction:
        insert = SAID.insert().values(**row, time_us=int(time.timestamp() * 1e6))
        transaction.connection.execute(insert)


def _left(database: Database) -> list[tuple[str, int]]:
    with database.read() as connection:
        rows = connection.execute(sa.select(SAID.c.tenant, SAID.c.number).order_by(*SAID.c[:2]))
        return [(row.tenant, row.number) for row in rows]


def _count(database: Database, table: sa.Table) -> int:
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_each_tenant_keeps_as_long_as_its_rule_says(database: Database) -> None:
    clock = Clock()
    retention = _retention(database, clock, short=Keep(store_days=7), ever=Keep(store_days=0))
    for tenant in ("ever", "other", "short"):
        for number, days in enumerate((40, 20, 1)):
            _say(database, tenant, number, START - timedelta(days=days))
    _say(database, "other", 9, START - timedelta(days=400), pinned=True)
    assert retention.once() == 3
    assert _left(database) == [
        ("ever", 0), ("ever", 1), ("ever", 2), ("other", 1), ("other", 2), ("other", 9), ("short", 2),
    ]  # fmt: skip
    assert database.counts() == [("retention", "made", "said", 3), ("retention", "taken", "", 3)]
    assert retention.once() == 0


def test_years_leave_the_sizes_of_one_month(database: Database) -> None:
    """Two years, a day at a time: ten messages, ten notes and a hundred events a day."""
    clock = Clock()
    retention = _retention(database, clock)
    sizes = set()
    for day in range(730):
        clock.now = START + timedelta(days=day)
        with database.begin() as transaction:
            time_us = int(clock.now.timestamp() * 1e6)
            said = [{"tenant": "t", "number": 10 * day + n, "time_us": time_us} for n in range(10)]
            transaction.connection.execute(SAID.insert(), said)
            notes = [{"id": 10 * day + n, "time": clock.now.timestamp()} for n in range(10)]
            transaction.connection.execute(NOTES.insert(), notes)
            assert len(transaction.first_time("s", [f"{day}.{n}" for n in range(100)])) == 100
        while retention.once():
            continue
        if day >= 60:
            sizes.add(tuple(_count(database, table) for table in (SAID, NOTES, SEEN, SEEN_MARKS)))
    # Thirty days that are younger than thirty days, and the one that is exactly that old.
    assert sizes == {(310, 310, 400, 4)}


def test_an_event_is_known_again_for_as_long_as_it_should_be(database: Database) -> None:
    clock = Clock()
    retention = _retention(database, clock)

    def fresh() -> set[str]:
        with database.begin() as transaction:
            return transaction.first_time("s", ["e1"])

    assert fresh() == {"e1"}
    retention.once()
    clock.now += timedelta(days=2.9)
    retention.once()
    assert fresh() == set()
    clock.now += timedelta(days=0.2)
    retention.once()
    assert fresh() == {"e1"}


def test_numbers_are_not_given_twice_when_all_are_forgotten(database: Database) -> None:
    """Otherwise a new event would be older than a mark, and removed immediately."""
    clock = Clock()
    retention = _retention(database, clock)
    with database.begin() as transaction:
        transaction.first_time("s", [f"e{n}" for n in range(50)])
    retention.once()
    clock.now += timedelta(days=4)
    assert retention.once() == 50
    with database.begin() as transaction:
        transaction.first_time("s", ["new"])
        number = transaction.connection.execute(sa.select(SEEN.c.seq)).scalar_one()
    assert number > 50


def test_events_that_kafka_never_accepts_go_as_they_would_from_a_topic(database: Database) -> None:
    """A month after they were refused, however old what they tell of is."""
    log = MemoryEventLog(max_message_bytes=10)
    with database.begin() as transaction:
        for name, words in (("long", b"x" * 99), ("short", b"x")):
            transaction.emit(Event("out.v1", name, "k", words, "test", START - timedelta(days=900)))
    OutboxRelay(database, log).relay_once()
    with database.begin() as transaction:
        transaction.emit(Event("out.v1", "waits", "k", b"x", "test", START - timedelta(days=900)))
    clock = Clock()
    retention = _retention(database, clock)
    clock.now = now() + timedelta(days=29.9)
    assert retention.once() == 0
    clock.now += timedelta(days=0.2)
    assert retention.once() == 1
    with database.read() as connection:
        assert connection.execute(sa.select(OUTBOX.c.event_id)).scalars().all() == ["waits"]
    counts = {(one, reason): n for stage, one, reason, n in database.counts() if stage == "outbox"}
    assert counts == {
        ("taken", ""): 1, ("waiting", "EVENT_TOO_LARGE"): 0, ("dropped", "AGED"): 1,
    }  # fmt: skip


class Broken:
    place = "broken"

    def forget(
        self, transaction: Transaction, policy: RetentionPolicy, now: datetime, most: int
    ) -> int:
        raise ZeroDivisionError


def test_a_place_that_fails_keeps_no_other_full(database: Database) -> None:
    policy = RetentionPolicy({"*": Keep(store_days=30)})
    aging: list[Aging] = [Broken(), AgedRows("notes", NOTES, NOTES.c.time)]
    retention = Retention(database, aging, policy, Clock(), seen_days=3)
    with database.begin() as transaction:
        transaction.connection.execute(NOTES.insert(), [{"id": 1, "time": 0.0}])
    with pytest.raises(ZeroDivisionError):
        retention.once()
    assert _count(database, NOTES) == 0
