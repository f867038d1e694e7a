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
from tests.unit.reward.running import LONG, SHORT, RewardService


@pytest.fixture
def service(database_url: str) -> Iterator[RewardService]:
    with opened("reward", database_url) as database:
        yield RewardService(database=database)


def test_pairs_count_once_and_train_a_model_that_is_kept_whole(service: RewardService) -> None:
    service.train()
    service.train()  # the same pairs again
    pairs, ratings = service.models.data("local", 1000, 1000)
    assert (len(pairs), len(ratings)) == (60, 0)
    cards = SqlRewardModels(service.database).page("local", None, 10)
    assert [card.version for card in cards] == list(range(len(cards), 0, -1))
    assert service.models.newest_version("local") == len(cards) >= 1
    assert service.models.newest_version("acme") == 0
    read = SqlRewardModels(service.database).load("local", 1)
    assert read.card == cards[-1]
    assert np.isfinite(read.ensemble.coefficients).all()
    with pytest.raises(NotFound):
        service.models.load("acme", 1)
    assert [card.version for card in service.models.page("local", 2, 10)] == [1]


def test_answers_wait_for_a_model_and_are_scored_once(service: RewardService) -> None:
    service.turn(0, "user", "What of rivers?")
    service.turn(1, "assistant", SHORT)
    service.turn(2, "user", "And of seas?")
    service.turn(3, "assistant", LONG)
    service.drain()
    assert service.counts("reward.answers")["waiting", "UNSCORED"] == 2
    assert not service.scoring.run_once()
    service.train()
    while service.scoring.run_once():
        continue
    short, long = service.scored()
    assert (short.turn_id, long.turn_id) == ("t1", "t3")
    assert short.reward > long.reward
    assert service.counts("reward.answers")["waiting", "UNSCORED"] == 0


def test_a_users_rows_go_and_models_that_had_learnt_are_named(service: RewardService) -> None:
    service.train()
    pair = service.models.data("local", 1000, 1000)[0][0]
    remover, erasure = RewardRemover(service.database), Erasure("e1", "local", pair.user_id)
    assert "rewardModels/reward-v1" in remover.survey(erasure).model_versions
    gone = []
    for _ in range(2):
        with service.database.begin() as transaction:
            gone.append(remover.remove_rows(erasure, transaction))
    left = service.models.data("local", 1000, 1000)[0]
    assert gone[0]["pairs"] == 60 - len(left) > 0
    assert set(gone[1].values()) == {0}
    assert pair.user_id not in {one.user_id for one in left}
