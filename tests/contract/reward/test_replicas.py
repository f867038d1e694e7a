"""Two replicas on one PostgreSQL come to what one comes to, and every answer is scored once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from services.reward.app.taking import ANSWERS, PAIRS
from services.reward.domain import TrainingRules
from shared.language.topics import INTERACTION_LOGGED, PREFERENCE_PROPOSED
from shared.log.events import Event, EventLog
from shared.state.database import Database
from shared.state.stage import SqlStage
from tests.contract.replicas import take
from tests.contract.state import opened
from tests.unit.reward.test_service import SHORT, House

RULES = TrainingRules()
WAITING = 100


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with opened("reward", database_url) as database:
        yield House(database=database, backlog=WAITING)


def stages(database: Database, log: EventLog) -> Sequence[SqlStage]:
    house = House(database=database, backlog=WAITING)
    wanted = [stage for stage in house.stages if stage.name in (PAIRS, ANSWERS)]
    return [replace(stage, log=log, batch_records=5) for stage in wanted]


def said() -> list[Event]:
    """Sixty pairs, and more answers than may wait."""
    house = House()
    for number in range(60):
        house.pair(number, f"user{number % 40}")
    for number in range(2 * WAITING):
        house.turn(number, "assistant", f"{SHORT} {number}")
    topics = (PREFERENCE_PROPOSED, INTERACTION_LOGGED)
    events = [record.event for topic in topics for record in house.log.records(topic)]
    return [replace(event, key=f"k{number}") for number, event in enumerate(events)]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
def test_two_replicas_keep_and_score_everything_once(
    house: House, database_url: str, processes: bool
) -> None:
    take("reward", database_url, stages, said(), processes=processes)
    counts = house.counts(ANSWERS)
    # The bound is of both together, to the answer.
    assert counts == {
        ("taken", ""): 2 * WAITING,
        ("waiting", "UNSCORED"): WAITING,
        ("dropped", "BACKLOG"): WAITING,
    }
    pairs, _ = house.models.data("local", 1000, 1000)
    assert len(pairs) == 60
    assert house.counts(PAIRS)["taken", ""] == 60
    while house.training.run_once():
        continue
    assert house.models.newest_version("local") == 2  # at 24 pairs and at 36: each asked for once
    with opened("reward", database_url) as other:
        replicas = [house, House(database=other)]
        with ThreadPoolExecutor(2) as threads:
            scored = sum(threads.map(score_all, replicas))
    assert scored == WAITING
    assert len({one.turn_id for one in house.scored()}) == WAITING
    assert house.counts(ANSWERS)["waiting", "UNSCORED"] == 0


def score_all(house: House) -> int:
    """By one replica, until nothing waits; how many were its own."""
    scoring, total = house.scores(batch=7), 0
    while scoring.waiting.tenants():
        total += scoring.run_once()
    return total
