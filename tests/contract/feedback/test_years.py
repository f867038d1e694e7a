"""Years of data: what is over its time goes from every table, by tenant, and sizes stay flat."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from services.feedback.adapters.aging import AGING
from services.feedback.heads.domain import HeadState
from services.feedback.tables import HEAD_LOOKS, HEAD_SOURCES, HEADS, METADATA
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.language.retention import Keep, RetentionPolicy
from shared.privacy.retention import Retention
from shared.state.database import Database
from shared.state.stage import drain
from shared.state.tables import JOBS, SEEN
from tests.contract.state import opened
from tests.unit.feedback import raters
from tests.unit.feedback.house import LONG, House

DAY_S = 86_400.0
# A row a tenant, and what a head that serves was fitted on (below).
TABLES = [
    table
    for table in (*METADATA.sorted_tables, SEEN, JOBS)
    if table not in (HEAD_LOOKS, HEADS, HEAD_SOURCES)
]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened("feedback", database_url) as made:
        yield made


def sizes(database: Database) -> dict[str, int]:
    with database.read() as connection:
        return {
            table.name: connection.execute(
                sa.select(sa.func.count()).select_from(table)
            ).scalar_one()
            for table in TABLES
        }


def a_month(house: House, month: int) -> None:
    """Two tenants' users say what makes a row in every table."""
    for tenant in ("long", "short"):
        name = f"{tenant}{month}"
        texts = ("what is a river?", LONG, "shorter please", LONG, "thanks", LONG, "maybe")
        house.belongs(name, "shorter", "team=sales", tenant=tenant)
        house.chat_with(name, name, *texts, tenant=tenant)
        for mode, up in ((common.FEEDBACK_MODE_ADD, False), (common.FEEDBACK_MODE_REPLACE, True)):
            given = common.ExplicitFeedback(
                feedback_id=f"{name}{up}",
                tenant=tenant,
                completion_id=f"{name}-1",
                thumbs_up=up,
                mode=mode,
            )
            house.give(given)
        late = common.ExplicitFeedback(
            feedback_id=f"late{name}", tenant=tenant, completion_id="never", thumbs_up=True
        )
        house.give(late)
    house.settle()
    house.wait(130)
    house.parts.sweep.once()
    house.parts.late.once()
    house.wait(30 * DAY_S)


def forget(house: House, **tenants: Keep) -> None:
    policy = RetentionPolicy({"*": Keep(store_days=180), **tenants})
    retention = Retention(house.database, AGING, policy, house.clock, seen_days=3)
    while retention.once():
        continue


def test_three_years_are_no_larger_than_one(database: Database) -> None:
    house = House(database, judge_unsure=True)
    by_year = []
    for month in range(36):
        a_month(house, month)
        forget(house, short=Keep(store_days=40))
        if month % 12 == 11:
            by_year.append(sizes(database))
    first, second, third = by_year
    assert first == second == third
    # Five months of the one tenant (the sixth is over by minutes), and one of the other.
    assert first["turns"] == 7 * (5 + 1)
    assert all(first[name] for name in ("feedback", "pairs", "persona_versions", "memberships"))
    assert first["judgements"] > 0
    assert first["waiting_explicit"] == first["pending_follow_ups"] == first["jobs"] == 0
    assert house.adds_up()


def test_a_membership_stays_while_its_user_says_anything(database: Database) -> None:
    house = House(database)
    for user in ("ada", "ben"):
        house.belongs(user, "shorter")
        house.chat_with(user, f"{user}1", "what is a river?", LONG, "shorter please")
    house.settle()
    house.wait(179 * DAY_S)
    house.chat_with("ada", "ada2", "what is a lake?", LONG, "shorter please")
    house.settle()
    house.wait(2 * DAY_S)
    forget(house)
    for user in ("ada", "ben"):
        house.chat_with(user, f"{user}3", "what is a sea?", LONG, "shorter please")
    house.settle()
    listed = house.parts.feedback.page("local", (), None, 10).items
    assert {one.conversation_id: one.groups for one in listed} == {
        "ada2": ("shorter",),
        "ada3": ("shorter",),
        "ben3": (),
    }


def test_what_waited_and_is_forgotten_is_counted(database: Database) -> None:
    house = House(database)
    house.scorer.trained = False
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please")
    house.settle()
    house.chat_with("ada", "c2", "what is a lake?", LONG, "thanks")
    drain(house.parts.turns)
    house.wait(181 * DAY_S)
    forget(house)
    house.settle()  # a persona was still to be written
    left = {name for name, size in sizes(database).items() if size}
    assert left <= {"seen_events"}
    assert house.counts("feedback.turns")["dropped", "AGED"] == 1
    assert house.counts("feedback.pairs")["dropped", "AGED"] == 1
    assert house.adds_up()


def test_a_head_that_serves_and_whom_it_learnt_from_stay(database: Database) -> None:
    house = raters.house_of(database)
    raters.rate(house, raters.reversed_, range(40))
    assert raters.refit(house) == "promoted"
    house.wait(200 * DAY_S)
    forget(house)
    assert house.parts.classifier.head_of("local") == raters.V1
    with database.read() as connection:
        count = sa.select(sa.func.count()).select_from(HEAD_SOURCES)
        assert connection.execute(count).scalar_one() > 0
    with database.begin() as transaction:
        former = HEADS.update().values(state=HeadState.FORMER.value)
        transaction.connection.execute(former)
    forget(house)
    with database.read() as connection:
        for table in (HEADS, HEAD_SOURCES):
            count = sa.select(sa.func.count()).select_from(table)
            assert connection.execute(count).scalar_one() == 0
