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
from tests.unit.reward.running import SHORT, RewardService

RULES = TrainingRules()
WAITING = 100


@pytest.fixture
def service(database_url: str) -> Iterator[RewardService]:
    with opened("reward", database_url) as database:
        yield RewardService(database=database, backlog=WAITING)


def stages(database: Database, log: EventLog) -> Sequence[SqlStage]:
    service = RewardService(database=database, backlog=WAITING)
    wanted = [stage for stage in service.stages if stage.name in (PAIRS, ANSWERS)]
    return [replace(stage, log=log, batch_records=5) for stage in wanted]


def said() -> list[Event]:
    """Sixty pairs, and more answers than may wait."""
    service = RewardService()
    for number in range(60):
        service.pair(number, f"user{number % 40}")
    for number in range(2 * WAITING):
        service.turn(number, "assistant", f"{SHORT} {number}")
    topics = (PREFERENCE_PROPOSED, INTERACTION_LOGGED)
    events = [record.event for topic in topics for record in service.log.records(topic)]
    return [replace(event, key=f"k{number}") for number, event in enumerate(events)]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
def test_two_replicas_keep_and_score_everything_once(
    service: RewardService, database_url: str, processes: bool
) -> None:
    take("reward", database_url, stages, said(), processes=processes)
    counts = service.counts(ANSWERS)
    # The bound is of both together, to the answer.
    assert counts == {
        ("taken", ""): 2 * WAITING,
        ("waiting", "UNSCORED"): WAITING,
        ("dropped", "BACKLOG"): WAITING,
    }
    pairs, _ = service.models.data("local", 1000, 1000)
    assert len(pairs) == 60
    assert service.counts(PAIRS)["taken", ""] == 60
    while service.training.run_once():
        continue
    assert service.models.newest_version("local") == 2  # at 24 pairs and at 36: each asked for once
    with opened("reward", database_url) as other:
        replicas = [service, RewardService(database=other)]
        with ThreadPoolExecutor(2) as threads:
            scored = sum(threads.map(score_all, replicas))
    assert scored == WAITING
    assert len({one.turn_id for one in service.scored()}) == WAITING
    assert service.counts(ANSWERS)["waiting", "UNSCORED"] == 0


def score_all(service: RewardService) -> int:
    """By one replica, until nothing waits; how many were its own."""
    scoring, total = service.scores(batch=7), 0
    while scoring.waiting.tenants():
        total += scoring.run_once()
    return total
