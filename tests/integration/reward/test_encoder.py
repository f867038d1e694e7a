"""The real encoder: what means the same lies together, learning on it works, and nothing of it needs torch."""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from services.reward.app.featurising import Featuriser
from services.reward.app.training import TrainModel
from services.reward.domain import Answer, Judgement, ModelCard, Pair, Rating, TrainingRules
from services.reward.learning.ensemble import NO_FOLD
from services.reward.learning.features import MOST_TOKENS
from services.reward.ports import RewardModel
from shared.encoding.sentences import SentenceEncoder

ENCODER = Path(os.environ.get("TRIMTAB_ENCODER", ".trimtab/parts/models/all-minilm-l6-v2"))
TOPICS = ("bread", "rain", "chess", "tea", "maps", "cats", "bicycles", "stars")


class Kept:
    """Sixty pairs of forty users who all like the short answer."""

    def newest_version(self, tenant: str) -> int:
        return 0

    def load(self, tenant: str, version: int) -> RewardModel:
        raise AssertionError

    def page(self, tenant: str, before: int | None, size: int) -> list[ModelCard]:
        return []

    def data(self, tenant: str, most: int, most_per_user: int) -> tuple[list[Pair], list[Rating]]:
        return [_pair(number) for number in range(60)], []

    def judgements(self, tenant: str, most: int, most_per_user: int) -> list[Judgement]:
        return []


def _pair(number: int) -> Pair:
    topic = TOPICS[number % len(TOPICS)]
    request = f"What should I know about {topic}, question {number}?"
    short = f"Start small with {topic} and take your time."
    long = f"There is much to say about {topic}, and all of it should be weighed with care. " * 5
    return Pair(f"p{number}", f"user{number % 40}", Answer(request, short), Answer(request, long))


@pytest.mark.timeout(300)
def test_short_is_better_is_learnt_on_users_that_no_judge_saw() -> None:
    encoder = SentenceEncoder(ENCODER, max_tokens=MOST_TOKENS)
    vectors = encoder.embed(["A cat sleeps.", "A kitten is asleep.", "Interest rates rose."])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0] * 3)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    train = TrainModel(Featuriser(encoder), Kept(), TrainingRules())
    card = train("local", datetime(2026, 11, 20, tzinfo=UTC)).card
    assert card.cross_fitted.value > 0.9
    assert card.held_out.value > 0.9


def test_a_control_token_that_is_spelt_out_is_text() -> None:
    encoder = SentenceEncoder(ENCODER, max_tokens=MOST_TOKENS)
    tokens = encoder._loaded().tokens(["a [SEP] b"])
    # [CLS] a [ sep ] b [SEP]
    assert tokens == [[101, 1037, 1031, 19802, 1033, 1038, 102]]


class Transformers:
    """The encoder as its makers ran it: in torch, all in float32."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        import torch
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(ENCODER, local_files_only=True)
        model = AutoModel.from_pretrained(ENCODER, local_files_only=True).eval()
        rows = []
        with torch.inference_mode():
            for text in texts:
                tokens = tokenizer(
                    text, truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
                )
                mean = model(**tokens).last_hidden_state[0].mean(0)
                rows.append((mean / mean.norm()).numpy())
        return np.stack(rows)


@pytest.mark.timeout(300)
def test_rewards_are_those_that_float32_vectors_give() -> None:
    pairs, _ = Kept().data("local", 100, 100)
    answers = [answer for pair in pairs for answer in (pair.better, pair.worse)]
    rewards = []
    for encoder in (SentenceEncoder(ENCODER, max_tokens=MOST_TOKENS), Transformers()):
        featuriser = Featuriser(encoder)
        model = TrainModel(featuriser, Kept(), TrainingRules())(
            "local", datetime(2026, 11, 20, tzinfo=UTC)
        )
        folds = [NO_FOLD] * len(answers)
        mean, _ = model.ensemble.scores(featuriser.features(answers), folds)
        rewards.append(mean)
    # In standard deviations of the rewards, which are 1.
    assert np.abs(rewards[0] - rewards[1]).max() < 0.002
    assert np.corrcoef(rewards)[0, 1] > 0.9999


@pytest.mark.timeout(300)
def test_the_service_trains_and_scores_without_torch(tmp_path: Path) -> None:
    program = """
import sys
from datetime import UTC, datetime
from tests.integration.reward.test_encoder import ENCODER, Kept
from services.reward import main
from services.reward.app.featurising import Featuriser
from services.reward.app.training import TrainModel
from services.reward.domain import Judgement, TrainingRules
from shared.encoding.sentences import SentenceEncoder
featuriser = Featuriser(SentenceEncoder(ENCODER, max_tokens=128))
TrainModel(featuriser, Kept(), TrainingRules())("local", datetime(2026, 11, 20, tzinfo=UTC))
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
