"""What runs for every record, every batch and every few minutes reads no table from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from services.reward.adapters.aging import aging
from services.reward.adapters.lineage import RewardLineage
from services.reward.adapters.tables import METADATA
from shared.language.retention import Keep, RetentionPolicy
from shared.privacy.retention import Retention
from tests.contract.plans import Statement, recorded, whole_tables
from tests.contract.state import opened
from tests.unit.reward.test_service import NOW, SHORT, House

# A row for each tenant, and for each model.
SMALL = ("waiting_answers", "reward_progress", "reward_models")


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with opened("reward", database_url) as database:
        yield House(database=database)


def read_whole(house: House, asked: list[Statement]) -> list[str]:
    found = whole_tables(house.database, asked, METADATA)
    return [one for one in found if not any(f" {name}" in one.split(":")[0] for name in SMALL)]


def test_taking_and_scoring(house: House) -> None:
    house.train()
    with recorded(house.database) as asked:
        house.turn(0, "user", "What of rivers?")
        house.turn(1, "assistant", SHORT)
        house.pair(99, "user99")
        house.drain()
        assert house.scoring.run_once() == 1
        assert house.models.page("local", 5, 10)
        RewardLineage(house.database).steps("local", "c1", "")
    assert len(asked) > 20
    assert read_whole(house, asked) == []


def test_training_reads_the_newest_by_user(house: House) -> None:
    house.train()
    with recorded(house.database) as asked:
        pairs, _ = house.models.data("local", most=20, most_per_user=1)
    assert len(pairs) == 20
    assert len({pair.user_id for pair in pairs}) == 20
    newest = {f"user{number % 40}" for number in range(20, 60)}
    assert {pair.user_id for pair in pairs} <= newest
    # Whose pairs there are is sorted by user; their texts are read by number.
    assert [one for one in read_whole(house, asked) if "ORDER BY" not in one.split(":")[0]] == []


def test_forgetting(house: House) -> None:
    house.train()
    policy = RetentionPolicy({"*": Keep(30, 90), "short": Keep(7, 9)})
    late = NOW + timedelta(days=400)
    retention = Retention(house.database, aging(), policy, lambda: late, seen_days=3)
    with recorded(house.database) as asked:
        assert retention.once() > 60
    assert read_whole(house, asked) == []
