"""Two registries on one database, as threads and as processes: what one decides, the other sees."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import sqlalchemy as sa

from services.registry.adapters.tables import ROLLOUT_USERS
from services.registry.domain.versions import State
from shared.language.errors import FailedPrecondition
from shared.language.topics import MODEL_PROMOTED
from shared.state.stage import drain
from shared.state.tables import OUTBOX
from tests.contract.state import opened
from tests.unit.registry.test_registry import HOME, House

USERS = 60


@pytest.fixture
def houses(database_url: str) -> Iterator[tuple[House, House]]:
    with opened("registry", database_url) as one, opened("registry", database_url) as other:
        yield House(one), House(other)


def at_once(*calls: Callable[[], object]) -> list[object]:
    """What each gave or raised."""
    together = Barrier(len(calls))

    def attempt(call: Callable[[], object]) -> object:
        together.wait(10)
        try:
            return call()
        except FailedPrecondition as error:
            return error.reason

    with ThreadPoolExecutor(len(calls)) as threads:
        return [done.result() for done in [threads.submit(attempt, call) for call in calls]]


@pytest.mark.parametrize("round_", range(5))
def test_a_rollback_while_follow_ups_come_in_stays(
    houses: tuple[House, House], round_: int
) -> None:
    one, other = houses
    one.register("a")
    one.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    for n in range(USERS):
        other.say(f"old{n}", "assistant-v0", "POSITIVE")
        other.say(f"new{n}", "assistant-v1", "POSITIVE")
    object.__setattr__(other.stage, "batch_records", 3)
    at_once(lambda: drain(other.stage), lambda: one.app.rollback(HOME, "", "ann", "stop it"))
    rollout, champion, canary = other.app.rollout(HOME)
    assert (canary, champion.version, rollout.revision) == (None, "assistant-v0", 3)
    assert one.app.get("local", "assistant-v1").state == State.ROLLED_BACK
    counts = one.counts()
    assert counts["taken"] == 2 * USERS
    assert counts.get("made", 0) == rollout.test.champion.users + rollout.test.canary.users
    assert counts.get("made", 0) + counts.get("abstainedNO_ROLLOUT", 0) == 2 * USERS
    with one.database.read() as connection:
        assert connection.execute(sa.select(ROLLOUT_USERS)).all() == []


@pytest.mark.parametrize("round_", range(5))
def test_of_two_that_start_a_rollout_at_once_one_is_told(
    houses: tuple[House, House], round_: int
) -> None:
    one, other = houses
    one.register("a")
    one.register("b")
    told = at_once(
        lambda: one.app.start_rollout("local", "r1", "assistant-v1", 0.5, "ann", "try"),
        lambda: other.app.start_rollout("local", "r2", "assistant-v2", 0.5, "bob", "try"),
    )
    assert set(told) == {HOME, "ROLLOUT_UNDER_WAY"}
    rollout, _, canary = one.app.rollout(HOME)
    assert canary is not None
    assert canary.version == f"assistant-v{told.index(HOME) + 1}"
    assert rollout.revision == 2


def test_of_two_that_promote_at_once_one_is_told(houses: tuple[House, House]) -> None:
    one, other = houses
    one.register("a")
    one.register("b")
    told = at_once(
        lambda: one.app.promote("local", "assistant-v1", "ann", "mine", 1),
        lambda: other.app.promote("local", "assistant-v2", "bob", "mine", 1),
    )
    assert set(told) == {HOME, "ROLLOUT_CHANGED"}
    rollout, champion, _ = other.app.rollout(HOME)
    assert champion.version == f"assistant-v{told.index(HOME) + 1}"
    assert (rollout.revision, len(_outbox(one))) == (2, 1)


PROMOTE = """
import sys
from shared.language.errors import FailedPrecondition
from tests.contract.registry.test_many_writers import House, opened
with opened("registry", sys.argv[1]) as database:
    house = House(database)
    for revision in range(1, 21):
        try:
            house.app.promote("local", sys.argv[2], "ann", "mine", revision)
        except FailedPrecondition as error:
            assert error.reason == "ROLLOUT_CHANGED", error
"""


def test_two_processes_that_promote_at_once_take_turns(database_url: str) -> None:
    """Each promotes its own version again and again; every change is told once, and nothing is lost."""
    with opened("registry", database_url) as database:
        house = House(database)
        house.register("a")
        house.register("b")
        command = [sys.executable, "-c", PROMOTE, database_url]
        versions = ("assistant-v1", "assistant-v2")
        processes = [subprocess.Popen([*command, version]) for version in versions]
        assert [process.wait(60) for process in processes] == [0, 0]
        rollout, champion, _ = house.app.rollout(HOME)
        states = {one.version: one.state for one in house.app.versions("local", "", None, 10)}
        assert states.pop(champion.version) == State.CHAMPION
        assert set(states.values()) <= {State.RETIRED, State.VERIFIED}
        assert len(_outbox(house)) == rollout.revision - 1 >= 2


def _outbox(house: House) -> list[str]:
    query = sa.select(OUTBOX.c.event_id).where(OUTBOX.c.topic == MODEL_PROMOTED)
    with house.database.read() as connection:
        return list(connection.execute(query).scalars())
