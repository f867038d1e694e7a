"""Years of data: what is kept is flat, and a stream goes on as if nothing had been forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from services.drift.adapters.aging import aging
from services.drift.adapters.sql_readings import SqlReadings
from services.drift.adapters.sql_streams import SqlStreams
from services.drift.adapters.tables import (
    ALARMS,
    BUCKETS,
    COURSE,
    METADATA,
    STREAMS,
    TESTED,
    VALUES,
    VECTORS,
)
from services.drift.app.taking import take_follow_up
from services.drift.app.watching import Watcher
from services.drift.domain import MinedFollowUp, StreamState, Watching
from shared.language.paging import Term
from shared.language.retention import Keep, RetentionPolicy
from shared.privacy.retention import Retention
from shared.state.database import Database, Transaction
from tests.contract.plans import recorded, whole_tables
from tests.contract.state import opened

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = RetentionPolicy({"*": Keep(store_days=30), "ever": Keep(store_days=0)})
WATCHING = Watching(reference_observations=80, rearm_observations=100)
A_DAY, YEARS = 1, 3
TABLES = (STREAMS, VALUES, VECTORS, BUCKETS, COURSE, TESTED, ALARMS)


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now


CLOCK = Clock()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened("drift", database_url) as kept:
        yield kept


def follow_up(
    number: int, tenant: str, version: str, *, bad: bool, groups: tuple[str, ...] = ()
) -> MinedFollowUp:
    time = START + timedelta(days=number / A_DAY)
    return MinedFollowUp(
        feedback_id=f"{version}.f{number}",
        tenant=tenant,
        user_id=f"u{number % 7}",
        conversation_id=f"{version}.c{number}",
        model_version=version,
        source="follow_up",
        abstained=False,
        kind="reattempt_with_feedback" if bad else "positive",
        request_embedding=tuple(np.random.default_rng(number % 50).normal(size=4)),
        time=time,
        groups=groups,
    )


def take(transaction: Transaction, number: int, *, version: str = "v0") -> None:
    """A tenth are dissatisfied, and nine tenths after two and a half years."""
    rate = 0.1 if number < 2.5 * 365 * A_DAY else 0.9
    bad = bool(np.random.default_rng(number).random() < rate)
    for tenant in ("local", "ever"):
        CLOCK.now = START + timedelta(days=number / A_DAY)
        watcher = Watcher(SqlStreams(transaction, CLOCK), WATCHING)
        take_follow_up(follow_up(number, tenant, version, bad=bad), watcher)


def forget(database: Database) -> None:
    retention = Retention(database, aging(3600.0, unit_days=7), POLICY, CLOCK, seen_days=3)
    while retention.once():
        continue


def rows(database: Database, tenant: str) -> dict[str, int]:
    found = {}
    with database.read() as connection:
        for table in TABLES:
            query = sa.select(sa.func.count()).select_from(table)
            if "tenant" in table.c:
                query = query.where(table.c.tenant == tenant)
            found[table.name] = connection.execute(query).scalar_one()
    return found


def states(database: Database, tenant: str, version: str) -> list[StreamState]:
    """Without their tenant, so that two can be compared."""
    return [
        replace(one, key=replace(one.key, tenant=""))
        for one in SqlReadings(database).streams(tenant)
        if one.key.model_version == version
    ]


def test_three_years_are_as_large_as_a_month_and_the_alarm_is_the_same(database: Database) -> None:
    """Two tenants are told the same; one of them keeps all for ever, the other thirty days."""
    sizes = []
    for first in range(0, YEARS * 365 * A_DAY, 73):
        with database.begin() as transaction:
            for number in range(first, first + 73):
                take(transaction, number)
            take(transaction, number, version=f"v{1 + first}")  # another version, for a moment
        forget(database)
        sizes.append(rows(database, "local"))
    kept = {name: {size[name] for size in sizes[8:]} for name in sizes[0]}
    # Of a stream that goes on, its last 500 to 550 values, and 80 while it learns anew; of another version one.
    assert max(kept["stream_values"]) <= 2 * (550 + 80) + 1
    assert kept["streams"] == {4}
    assert kept["reference_vectors"] == {2}
    assert max(kept["stream_course"]) <= 2 * (30 * A_DAY + 2)
    assert kept["stream_buckets"] == {3}
    assert max(kept["tested_conversations"]) <= 2 * 2 * (7 + 1) * A_DAY + 4
    assert states(database, "local", "v0") == states(database, "ever", "v0")
    mine, ever = (SqlReadings(database).alarms(one, (), None, 10) for one in ("local", "ever"))
    assert [one.observations for one in ever if one.key.stream == "dissatisfaction"] == [919]
    assert mine == []  # half a year ago; what they said of figures and intervals was the same:
    with database.read() as connection:
        told = connection.execute(sa.text("SELECT COUNT(*) FROM outbox")).scalar_one()
    assert told == 2 * len(ever)


def test_a_groups_stream_ages_as_everyones_and_its_place_is_given_again(
    database: Database,
) -> None:
    def said(day: int, *groups: str) -> None:
        CLOCK.now = START + timedelta(days=day)
        one = follow_up(day, "local", "v0", bad=False, groups=groups)
        with database.begin() as transaction:
            take_follow_up(one, Watcher(SqlStreams(transaction, CLOCK), WATCHING))
        forget(database)

    def places() -> dict[str, int]:
        found = SqlReadings(database).streams("local")
        return {one.key.group: one.place for one in found if one.key.stream == "dissatisfaction"}

    said(0, "shorter", "longer")
    said(1, "longer")
    assert places() == {"": 0, "shorter": 1, "longer": 2}
    said(31, "longer")
    assert places() == {"": 0, "longer": 2}
    said(32, "lists", "team=sales")
    assert places() == {"": 0, "lists": 1, "longer": 2, "team=sales": 3}
    # Of what was plotted a month ago nothing is left; what is older than an hour is summed up.
    CLOCK.now = START + timedelta(days=40)
    forget(database)
    asked = ("dissatisfaction", "local", 60, None, None)
    counts = {
        group: sum(one.count for one in SqlReadings(database).buckets(*asked, group)[0])
        for group in ("", "shorter", "longer", "lists")
    }
    assert counts == {"": 2, "shorter": 0, "longer": 1, "lists": 1}
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(BUCKETS)).scalar() == 0
        kept = sa.select(VALUES.c.group, sa.func.count()).group_by(VALUES.c.group)
        mine = kept.where(VALUES.c.stream == "dissatisfaction")
        assert dict(connection.execute(mine).tuples().all()) == {
            "": 4,
            "longer": 3,
            "lists": 1,
            "team=sales": 1,
        }


def test_who_said_it_is_forgotten_and_the_value_is_not(database: Database) -> None:
    with database.begin() as transaction:
        for number in range(60):
            take(transaction, number)
    CLOCK.now = START + timedelta(days=38)
    forget(database)
    with database.read() as connection:
        mine = sa.select(VALUES).where(VALUES.c.tenant == "local").order_by(VALUES.c.position)
        values = connection.execute(mine.where(VALUES.c.stream == "dissatisfaction")).all()
    assert [bool(row.user_id) for row in values] == [False] * 8 + [True] * 52
    assert [bool(row.conversation_id) for row in values] == [False] * 8 + [True] * 52
    assert len(values) == 60 and sum(row.value for row in values) > 0


def test_a_conversation_is_tested_once_though_ids_of_events_are_forgotten(
    database: Database,
) -> None:
    def said(day: int) -> int:
        """The observations of the stream after one more value of the same conversation."""
        CLOCK.now = START + timedelta(days=day)
        again = replace(follow_up(0, "local", "v0", bad=False), feedback_id=f"f{day}")
        with database.begin() as transaction:
            take_follow_up(again, Watcher(SqlStreams(transaction, CLOCK), WATCHING))
        forget(database)
        return SqlReadings(database).streams("local")[0].observations

    assert [said(day) for day in (0, 1, 4, 5, 7, 8)] == [1] * 6
    assert said(9) == 2  # a week after the day it counts as another


def test_what_was_summed_up_is_read_with_what_is_new(database: Database) -> None:
    with database.begin() as transaction:
        streams = SqlStreams(transaction, CLOCK)
        for second in range(0, 7200, 10):
            one = follow_up(0, "local", "v0", bad=True)
            watcher = Watcher(streams, WATCHING)
            time = START + timedelta(seconds=second)
            user = f"u{second // 10 % 9}"
            take_follow_up(replace(one, time=time, user_id=user, request_embedding=()), watcher)
    CLOCK.now = START + timedelta(seconds=7200)
    asked = ("dissatisfaction", "local", 600, START, None)
    before = SqlReadings(database).buckets(*asked)
    forget(database)
    after = SqlReadings(database).buckets(*asked)
    # Ten minutes of six values a minute; nine people, of whom a minute has six.
    assert [(one.count, one.sum, one.users) for one in before[0]] == [(60, 60.0, 9)] * 12
    assert [(one.count, one.sum) for one in after[0]] == [(60, 60.0)] * 12
    assert [one.users for one in after[0]] == [6] * 6 + [9] * 6
    assert SqlReadings(database).buckets("dissatisfaction", "local", 10, None, None)[1] == 60
    with database.read() as connection:
        left = connection.execute(sa.select(sa.func.min(BUCKETS.c.start))).scalar_one()
    assert left == CLOCK.now.timestamp() - 3600


def test_no_table_is_read_whole(database: Database) -> None:
    with recorded(database) as asked:
        with database.begin() as transaction:
            for number in range(200):
                take(transaction, number)
            watcher = Watcher(SqlStreams(transaction, CLOCK), WATCHING)
            for number in range(1000, 1090):
                groups = ("longer", "team=sales")
                one = follow_up(number, "local", "v0", bad=False, groups=groups)
                take_follow_up(one, watcher)
        CLOCK.now = START + timedelta(days=400)
        forget(database)
        readings = SqlReadings(database)
        readings.alarms("local", (), (0.0, "a"), 10)
        for group in ("", "longer"):
            readings.buckets("dissatisfaction", "local", 0, START, CLOCK.now, group)
        readings.alarms("local", (Term("group", "=", "longer"),), None, 10)
    found = whole_tables(database, asked, METADATA)
    # A row for each version that serves.
    assert [one for one in found if " streams" not in one.split(":")[0]] == []
