"""The real encoder: what means the same lies together, and learning on it works."""

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from services.reward.adapters.minilm import MiniLmEncoder
from services.reward.app.featurising import Featuriser
from services.reward.app.training import TrainModel
from services.reward.domain import Answer, Pair, Rating, TrainingRules
from services.reward.ports import RewardModel

ENCODER = Path(os.environ.get("TRIMTAB_ENCODER", ".trimtab/parts/models/all-minilm-l6-v2"))
pytestmark = pytest.mark.skipif(not ENCODER.exists(), reason="the encoder's parts are not there")
TOPICS = ("bread", "rain", "chess", "tea", "maps", "cats", "bicycles", "stars")


class Kept:
    """Sixty pairs of forty users who all like the short answer."""

    def newest_version(self, tenant: str) -> int:
        return 0

    def load(self, tenant: str, version: int) -> RewardModel:
        raise AssertionError

    def data(self, tenant: str) -> tuple[list[Pair], list[Rating]]:
        return [_pair(number) for number in range(60)], []


def _pair(number: int) -> Pair:
    topic = TOPICS[number % len(TOPICS)]
    request = f"What should I know about {topic}, question {number}?"
    short = f"Start small with {topic} and take your time."
    long = f"There is much to say about {topic}, and all of it should be weighed with care. " * 5
    return Pair(f"p{number}", f"user{number % 40}", Answer(request, short), Answer(request, long))


@pytest.mark.timeout(300)
def test_short_is_better_is_learnt_on_users_that_no_judge_saw() -> None:
    encoder = MiniLmEncoder(ENCODER)
    vectors = encoder.encode(["A cat sleeps.", "A kitten is asleep.", "Interest rates rose."])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0] * 3)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    train = TrainModel(Featuriser(encoder), Kept(), TrainingRules())
    card = train("local", datetime(2026, 11, 20, tzinfo=UTC)).card
    assert card.cross_fitted.value > 0.9
    assert card.held_out.value > 0.9
