"""What runs for every record, every batch and every few minutes reads no table from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from services.reward.adapters.aging import aging
from services.reward.adapters.lineage import RewardLineage
from services.reward.tables import METADATA
from shared.language.retention import Keep, RetentionPolicy
from shared.privacy.retention import Retention
from tests.contract.plans import Statement, recorded, whole_tables
from tests.contract.state import opened
from tests.unit.reward.running import NOW, SHORT, RewardService

# A row for each tenant, and for each model.
SMALL = ("waiting_answers", "reward_progress", "reward_models")


@pytest.fixture
def service(database_url: str) -> Iterator[RewardService]:
    with opened("reward", database_url) as database:
        yield RewardService(database=database)


def read_whole(service: RewardService, asked: list[Statement]) -> list[str]:
    found = whole_tables(service.database, asked, METADATA)
    return [one for one in found if not any(f" {name}" in one.split(":")[0] for name in SMALL)]


def test_taking_and_scoring(service: RewardService) -> None:
    service.train()
    with recorded(service.database) as asked:
        service.turn(0, "user", "What of rivers?")
        service.turn(1, "assistant", SHORT)
        service.pair(99, "user99")
        service.drain()
        assert service.scoring.run_once() == 1
        assert service.models.page("local", 5, 10)
        RewardLineage(service.database).steps("local", "c1", "")
    assert len(asked) > 20
    assert read_whole(service, asked) == []


def test_training_reads_the_newest_by_user(service: RewardService) -> None:
    service.train()
    with recorded(service.database) as asked:
        pairs, _ = service.models.data("local", most=20, most_per_user=1)
    assert len(pairs) == 20
    assert len({pair.user_id for pair in pairs}) == 20
    newest = {f"user{number % 40}" for number in range(20, 60)}
    assert {pair.user_id for pair in pairs} <= newest
    # Whose pairs there are is sorted by user; their texts are read by number.
    assert [one for one in read_whole(service, asked) if "ORDER BY" not in one.split(":")[0]] == []


def test_forgetting(service: RewardService) -> None:
    service.train()
    policy = RetentionPolicy({"*": Keep(30, 90), "short": Keep(7, 9)})
    late = NOW + timedelta(days=400)
    retention = Retention(service.database, aging(), policy, lambda: late, seen_days=3)
    with recorded(service.database) as asked:
        assert retention.once() > 60
    assert read_whole(service, asked) == []
