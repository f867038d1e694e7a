"""The reward service's intake and models on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from services.reward.adapters.erasing import RewardRemover
from services.reward.adapters.sql_models import SqlRewardModels
from shared.language.errors import NotFound
from shared.privacy.erasure import Erasure
from tests.contract.state import opened
from tests.unit.reward.test_service import LONG, SHORT, House


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    with opened("reward", database_url) as database:
        yield House(database=database)


def test_pairs_count_once_and_train_a_model_that_is_kept_whole(house: House) -> None:
    house.train()
    house.train()  # the same pairs again
    pairs, ratings = house.models.data("local", 1000, 1000)
    assert (len(pairs), len(ratings)) == (60, 0)
    cards = SqlRewardModels(house.database).page("local", None, 10)
    assert [card.version for card in cards] == list(range(len(cards), 0, -1))
    assert house.models.newest_version("local") == len(cards) >= 1
    assert house.models.newest_version("acme") == 0
    read = SqlRewardModels(house.database).load("local", 1)
    assert read.card == cards[-1]
    assert np.isfinite(read.ensemble.coefficients).all()
    with pytest.raises(NotFound):
        house.models.load("acme", 1)
    assert [card.version for card in house.models.page("local", 2, 10)] == [1]


def test_answers_wait_for_a_model_and_are_scored_once(house: House) -> None:
    house.turn(0, "user", "What of rivers?")
    house.turn(1, "assistant", SHORT)
    house.turn(2, "user", "And of seas?")
    house.turn(3, "assistant", LONG)
    house.drain()
    assert house.counts("reward.answers")["waiting", "UNSCORED"] == 2
    assert not house.scoring.run_once()
    house.train()
    while house.scoring.run_once():
        continue
    short, long = house.scored()
    assert (short.turn_id, long.turn_id) == ("t1", "t3")
    assert short.reward > long.reward
    assert house.counts("reward.answers")["waiting", "UNSCORED"] == 0


def test_a_users_rows_go_and_models_that_had_learnt_are_named(house: House) -> None:
    house.train()
    pair = house.models.data("local", 1000, 1000)[0][0]
    remover, erasure = RewardRemover(house.database), Erasure("e1", "local", pair.user_id)
    assert "rewardModels/reward-v1" in remover.survey(erasure).model_versions
    gone = []
    for _ in range(2):
        with house.database.begin() as transaction:
            gone.append(remover.remove_rows(erasure, transaction))
    left = house.models.data("local", 1000, 1000)[0]
    assert gone[0]["pairs"] == 60 - len(left) > 0
    assert set(gone[1].values()) == {0}
    assert pair.user_id not in {one.user_id for one in left}
