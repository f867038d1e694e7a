"""Several replicas of feedback on one database make what one makes: nothing doubled, nothing lost, no error."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa

from infra.local.paths import REPO
from services.feedback.people.adapters.sql_people import groups_of
from services.feedback.tables import HEADS, MEMBERSHIPS, METADATA
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.language.topics import (
    FEEDBACK_MINED,
    PERSONA_UPDATED,
    PREFERENCE_MINED,
    PREFERENCE_PROPOSED,
)
from shared.log.memory import MemoryEventLog
from shared.state.database import Database
from shared.state.stage import drain
from tests.contract.feedback.replicas import SETTINGS, opened, work
from tests.unit.feedback import raters
from tests.unit.feedback.house import LONG, House

TOPICS = (FEEDBACK_MINED, PREFERENCE_PROPOSED, PREFERENCE_MINED, PERSONA_UPDATED)


def logged(house: House) -> None:
    """What users of two tenants say; and thumbs, some of which came before their answers."""
    for tenant in ("one", "two"):
        for number in range(12):
            name = f"{tenant}{number}"
            thumb = common.ExplicitFeedback(
                feedback_id=name,
                tenant=tenant,
                completion_id=f"{name}-1",
                thumbs_up=bool(number % 2),
            )
            house.give(thumb)
            if number % 3:
                drain(house.parts.explicit)
            said = ("shorter please", "thanks", "wrong")[number % 3]
            request = f"what is river {number} of {tenant} like?"
            house.chat_with(name, name, request, LONG, said, tenant=tenant)
    drain(house.parts.turns)
    drain(house.parts.explicit)


def outcome(house: House) -> tuple[dict[str, list[str]], list[tuple[str, str, str, int]]]:
    while house.parts.relay.relay_once():
        continue
    events = {
        topic: sorted(record.event.id for record in house.log.records(topic)) for topic in TOPICS
    }
    return events, [row for row in house.database.counts() if row[3]]


@pytest.fixture(scope="module")
def alone() -> tuple[dict[str, list[str]], list[tuple[str, str, str, int]]]:
    """What one replica makes, on SQLite."""
    house = House(Database("sqlite://", METADATA), **SETTINGS)
    logged(house)
    work(house, rounds=1)
    assert house.adds_up()
    return outcome(house)


@pytest.fixture
def databases(database_url: str) -> Iterator[Callable[[], Database]]:
    with ExitStack() as stack:

        def another() -> Database:
            made = opened(database_url)
            stack.callback(made.close)
            return made

        yield another


def beside(log: MemoryEventLog, database: Database, **settings: Any) -> House:
    """Another replica on the same log."""
    house = House(database, **{**SETTINGS, **settings})
    house.log = log
    house.start()
    return house


def test_two_threads_at_everything(
    databases: Callable[[], Database], alone: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first = House(databases(), **SETTINGS)
    logged(first)
    second = beside(first.log, databases())
    with caplog.at_level(logging.ERROR), ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work, one) for one in (first, second)]:
            done.result()
    assert caplog.records == []
    assert outcome(first) == alone
    assert first.adds_up()


def test_two_processes_at_everything(
    databases: Callable[[], Database], database_url: str, alone: Any
) -> None:
    house = House(databases(), **SETTINGS)
    logged(house)
    command = [sys.executable, "-m", "tests.contract.feedback.replicas", database_url]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(command, cwd=REPO, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for one in running:
        _, errors = one.communicate(timeout=100)
        assert (one.returncode, "Traceback" in errors) == (0, False), errors
    assert outcome(house) == alone
    assert house.adds_up()


def test_updates_of_memberships_taken_by_both_leave_the_newest(
    databases: Callable[[], Database],
) -> None:
    """Whichever replica takes which version, and however often."""
    first = House(databases(), **SETTINGS)
    second = beside(first.log, databases())
    users = [f"u{number}" for number in range(6)]
    for version in (2, 1, 3):
        for user in users:
            first.belongs(user, f"v{version}", version=version)
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(drain, house.parts.people) for house in (first, second)]:
                done.result()
    with first.database.read() as connection:
        rows = connection.execute(sa.select(MEMBERSHIPS.c.user_id, MEMBERSHIPS.c.version)).all()
        assert sorted(tuple(row) for row in rows) == [(user, 3) for user in users]
        assert {groups_of(connection, "local", user) for user in users} == {("v3",)}
    assert first.counts("feedback.people") == {
        ("taken", ""): 18,
        ("made", "known"): 12,
        ("dropped", "OUT_OF_DATE"): 6,
    }


def test_one_batch_judged_by_both_counts_once(databases: Callable[[], Database]) -> None:
    """Both have read the same follow-ups before either writes."""
    first = House(databases(), **SETTINGS)
    logged(first)
    second = beside(first.log, databases())
    met = threading.Barrier(2, timeout=30)
    for house in (first, second):
        loop = house.parts.judge
        judge = loop.judge.judge

        def judged(found: Any, judge: Any = judge) -> Any:
            made = judge(found)
            met.wait()
            return made

        loop.judge = _With(loop.judge, judged)
    with ThreadPoolExecutor(2) as pool:
        sizes = [
            done.result() for done in [pool.submit(h.parts.judge.once) for h in (first, second)]
        ]
    assert sizes == [4, 4]
    assert first.counts("feedback.turns")["waiting", "TO_JUDGE"] == 20
    assert first.adds_up()


class _With:
    """A judge whose slow part is another's."""

    def __init__(self, judge: Any, judged: Callable[[Any], Any]) -> None:
        self.judge, self.record = judged, judge.record


def test_two_fits_of_one_tenant_at_once_leave_one_head_that_serves(
    databases: Callable[[], Database],
) -> None:
    first = raters.house_of(databases())
    raters.rate(first, raters.reversed_, range(40))
    second = beside(first.log, databases(), **raters.SETTINGS)
    raters.judge_for_real(second)
    raters.look(first)
    raters.look(second)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda house: raters.fits(house).run_once(), (first, second)))
    assert sorted(done) == [False, True]
    with first.database.read() as connection:
        states = connection.execute(sa.select(HEADS.c.version, HEADS.c.state)).all()
    assert [tuple(row) for row in states] == [(1, "serving")]
    assert first.parts.classifier.head_of("local") == second.parts.classifier.head_of("local")
    assert first.adds_up()
