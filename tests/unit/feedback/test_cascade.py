"""Lines of which the first model is sure are not shown to the others, where that costs next to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from services.feedback.mining.app.features import Conversation, Floats
from services.feedback.training.app import blend as blending
from services.feedback.training.app.blend import Blend, Cascade
from services.feedback.training.app.fitting import Judge

EVEN = Blend((0.5, 0.5), (0.0, 0.0))
ALONE = Blend((1.0,), (0.0, 0.0))


class Numbered:
    """Its logit of the second label is what the follow-up says, times `slope`; keeps what it was asked."""

    def __init__(self, slope: float) -> None:
        self.slope = slope
        self.asked: list[str] = []

    def logits(self, conversations: Sequence[Conversation]) -> Floats:
        self.asked += [one.follow_up for one in conversations]
        said = np.array([float(one.follow_up) for one in conversations])
        return np.stack([np.zeros(len(said)), self.slope * said], 1)

    def save(self, folder: Path) -> None:
        raise AssertionError


def saying(*numbers: float) -> list[Conversation]:
    return [Conversation((("user", str(one)),)) for one in numbers]


def test_the_other_model_is_asked_where_the_first_is_unsure() -> None:
    first, second = Numbered(1.0), Numbered(3.0)
    judge = Judge(("a", "b"), (first, second), EVEN, Cascade(ALONE, sure=0.9))
    rows = judge.probabilities(saying(4.0, 0.5, -4.0, -1.0))
    assert second.asked == ["0.5", "-1.0"]
    by_hand = [1 / (1 + np.exp(-one)) for one in (4.0, 0.5 * 2, -4.0, -1.0 * 2)]
    assert rows[:, 1] == pytest.approx(by_hand)
    assert judge.probabilities([]).shape == (0, 2)


def test_without_a_cascade_all_are_asked() -> None:
    second = Numbered(3.0)
    Judge(("a", "b"), (Numbered(1.0), second), EVEN).probabilities(saying(4.0, 0.5))
    assert second.asked == ["4.0", "0.5"]


def held_out(noise: float) -> tuple[Floats, Floats, Floats]:
    """A first model's logits, better rows, and the truth; the more `noise`, the worse the first."""
    random = np.random.default_rng(0)
    truth = random.random(4_000) < 0.3
    signal = np.where(truth, 2.0, -2.0) + random.normal(size=4_000)
    first = signal + noise * random.normal(size=4_000)
    shares = np.stack([~truth, truth], 1).astype(float)
    zeros = np.zeros(4_000)
    rows = blending.softmax(np.stack([zeros, 4 * signal - 0.85], 1))
    return np.stack([zeros, first], 1), rows, shares


def test_a_good_first_model_spares_half_and_a_bad_one_none() -> None:
    first, rows, shares = held_out(noise=0.0)
    cascade, mixed = blending.fit_cascade(first, rows, shares)
    assert cascade is not None
    spared = cascade.alone.probabilities([first]).max(1) >= cascade.sure
    assert spared.mean() == pytest.approx(0.5, abs=0.01)
    assert np.array_equal(mixed[~spared], rows[~spared])

    first, rows, shares = held_out(noise=20.0)
    cascade, mixed = blending.fit_cascade(first, rows, shares)
    assert cascade is None
    assert np.array_equal(mixed, rows)
