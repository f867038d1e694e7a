"""Where MLflow's aliases of a policy point."""

from collections.abc import Iterator

import pytest

from services.registry.domain.rollouts import MOST_CHAMPIONS, Rollout
from tests.unit.registry.test_registry import HOME, START, House


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.database.close()


def aliases(house: House) -> dict[str, str]:
    while house.aliases.run_once():
        continue
    return house.models.aliases["assistant"]


def test_aliases_follow_even_when_mlflow_was_away(house: House):
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed")
    house.models.away = True
    assert house.aliases.run_once()
    house.models.away = False
    assert house.models.aliases == {}
    house.app.promote("local", "assistant-v1", "ann", "good")
    assert house.aliases.run_once()
    assert house.models.aliases == {"assistant": {"champion": "1", "first": "1"}}


def test_the_alias_first_stays_and_leaves_a_version_that_is_rolled_back(house: House):
    for name in ("a", "b", "c"):
        house.register(name)
    house.app.promote("local", "assistant-v1", "ann", "good")
    house.app.rollback(HOME, "r1", "ann", "it was not")
    assert aliases(house) == {}
    house.app.promote("local", "assistant-v2", "ann", "good")
    house.app.promote("local", "assistant-v3", "ann", "better")
    assert aliases(house) == {"champion": "3", "first": "2"}
    house.app.start_rollout("local", "r", house.register("d"), 0.5, "retrain", "passed")
    assert house.app.rollout(HOME)[0].first == "assistant-v2"
    house.app.rollback(HOME, "r1b", "ann", "not this one")
    house.app.rollback(HOME, "r2", "ann", "not better")
    house.app.promote("local", "assistant-v1", "ann", "good after all")
    assert aliases(house) == {"champion": "1", "first": "2"}


def test_the_first_champion_is_known_when_there_were_more_than_are_kept():
    rollout = Rollout(HOME, 1, ("assistant-v0",), START)
    for n in range(1, MOST_CHAMPIONS + 3):
        rollout = rollout.over(rollout.followed_by(f"assistant-v{n}"), START)
    assert rollout.first == "assistant-v1"
    rollout = rollout.over(rollout.champions[:-1], START)
    assert (rollout.first, rollout.champions[0]) == ("assistant-v1", "assistant-v3")
