"""Objectives that take all answers that were scored, by values worked out by hand."""

import math

import pytest

from services.retrain.adapters.encoded import EncodedPair, EncodedSample, Group
from services.retrain.adapters.objectives.advantages import advantages
from services.retrain.adapters.objectives.grao import grao
from services.retrain.adapters.objectives.grpo import grpo
from services.retrain.adapters.objectives.table import OBJECTIVES
from tests.unit.retrain.objectives.rows import gradient, row, scored


def pair(margin: float, *samples: float) -> EncodedPair:
    """Rewards of its chosen answer and of its samples, above the rejected answer's."""
    others = tuple(EncodedSample((7 + n,), reward) for n, reward in enumerate(samples))
    return EncodedPair((1,), (2,), (3,), reward_margin=margin, samples=others)


def test_advantages_are_deviations_from_the_mean_of_all_answers():
    # Rewards 1 (chosen), 0 (rejected), 1: the mean is 2/3, the deviation sqrt(2)/3.
    assert advantages(pair(1.0, 1.0)).tolist() == pytest.approx([0.7071, -1.4142, 0.7071], abs=1e-4)
    assert advantages(pair(3.0)).tolist() == [1.0, -1.0]
    assert advantages(pair(0.0)).tolist() == [1.0, -1.0]  # stated, and judged by no model


def test_grao_by_hand():
    # The samples' mean log-probabilities are -1 (reward 1) and -2 (the rejected one, 0), the example's -1.5:
    # (0.7071 * -1 - 1.4142 * -2) / 2 = 1.0607; 0.5 * 0.7071 * -1.5 = -0.5303;
    # 0.6 * (0.7071 * 0.5 + 1.4142 * 0.5) / 2 = 0.3182.
    chosen, rejected, sample = scored([-1.0, -2.0]), scored([-2.0]), scored([-1.0])
    one = row(chosen, rejected, sample, pair=pair(1.0, 1.0))
    (loss,) = grao([one], imitation_weight=0.5, alignment_weight=0.6)
    assert loss.item() == pytest.approx(-0.8485, abs=1e-4)
    loss.backward()
    # Of the others A (1 + 0.6) / 2; of each of the example's two tokens 0.5 A / 2 and what the others leave it.
    assert gradient(sample) == pytest.approx([-0.7071 * 0.8], abs=1e-4)
    assert gradient(rejected) == pytest.approx([1.4142 * 0.8], abs=1e-4)
    kept = -0.6 * (0.7071 - 1.4142) / 2 + 0.5 * 0.7071
    assert gradient(chosen) == pytest.approx([-kept / 2] * 2, abs=1e-4)


def test_grpo_begins_with_the_advantages_and_stops_at_its_clips():
    still = row(scored([-1.0, -2.0]), scored([-3.0]), pair=pair(1.0))
    (loss,) = grpo([still], clip_low=0.2, clip_high=0.28, kl_weight=0.04)
    assert loss.item() == pytest.approx(0.0)
    loss.backward()
    # -A / 2 answers / tokens: the example has two tokens, the rejected answer one.
    assert gradient(still.chosen) == pytest.approx([-0.25, -0.25])
    assert gradient(still.rejected) == pytest.approx([0.5])


def test_grpo_by_hand_beyond_its_clips():
    # Ratios 1.5 and 0.5, of A = 1 and -1: both are clipped, and only the KL pulls them back.
    chosen = scored([math.log(0.6)], [math.log(0.4)])
    rejected = scored([math.log(0.2)], [math.log(0.4)])
    (loss,) = grpo([row(chosen, rejected, pair=pair(1.0))], 0.2, 0.28, kl_weight=0.04)
    kl = (1 / 1.5 - math.log(1 / 1.5) - 1) + (2 - math.log(2) - 1)
    assert loss.item() == pytest.approx((-1.28 + 0.8 + 0.04 * kl) / 2)
    loss.backward()
    assert gradient(chosen) == pytest.approx([0.04 * (1 - 1 / 1.5) / 2])
    assert gradient(rejected) == pytest.approx([0.04 * (1 - 2) / 2])


def test_grpos_ratio_is_to_the_champion_that_wrote_the_answers():
    chosen = scored([math.log(0.6)], [math.log(0.4)], [math.log(0.6)])
    rejected = scored([math.log(0.4)], [math.log(0.4)], [math.log(0.4)])
    (loss,) = grpo([row(chosen, rejected, pair=pair(1.0))], 0.2, 0.28, kl_weight=0.0)
    assert loss.item() == pytest.approx(0.0)
    loss.backward()
    assert gradient(chosen) == pytest.approx([-0.5])


def test_samples_are_asked_for_behind_the_two_answers_by_these_two_alone():
    one = pair(1.0, 0.5, 0.2)
    answers = ((2,), (3,), (7,), (8,))
    for name in ("grao", "grpo"):
        assert OBJECTIVES[name].groups(one, one) == (Group((1,), answers),)
    assert OBJECTIVES["dpo"].groups(one, one) == (Group((1,), answers[:2]),)
