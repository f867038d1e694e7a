"""The gate of heads: its rules, and its figures by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from services.feedback.heads.app.gate import GateRules, compare, verdict
from services.feedback.heads.domain import (
    CAN_NOT_TELL,
    NOT_BETTER,
    RANKS_WORSE,
    Figures,
    Interval,
)

RULES = GateRules()


def figures(gain: float, roc: float, roc_gain: float) -> Figures:
    """By the lower ends of what is looked at."""
    gains, before, after, risen = (
        Interval(low + 0.1, low, low + 0.2) for low in (gain, 0.6, roc, roc_gain)
    )
    return Figures(100, 20, 0.95, 0.7, 0.5, gains, before, after, risen, 0.1, 0.1)


@pytest.mark.parametrize(
    ("gain", "roc", "roc_gain", "reason"),
    [
        (0.01, 0.6, 0.0, ""),
        (0.01, 0.6, -0.05, ""),
        (0.01, 0.6, -0.051, RANKS_WORSE),
        (0.01, 0.5, 0.1, CAN_NOT_TELL),
        (0.0, 0.9, 0.1, NOT_BETTER),
        (-0.01, 0.4, -0.5, NOT_BETTER),
    ],
)
def test_all_three_rules_must_hold(gain: float, roc: float, roc_gain: float, reason: str) -> None:
    assert verdict(figures(gain, roc, roc_gain), RULES) == reason
    assert verdict(figures(gain, roc, roc_gain), replace(RULES, least_auroc=0.99)) != ""


def test_the_errors_of_all_attempts_add_up_to_the_error() -> None:
    assert RULES.confidence(1) == pytest.approx(0.975)
    assert RULES.confidence(2) == pytest.approx(1 - 0.05 / 6)
    assert sum(1 - RULES.confidence(k) for k in range(1, 2000)) == pytest.approx(0.05, abs=1e-4)


def test_figures_by_hand() -> None:
    bad = np.array([1.0, 0.0, 0.5, 1.0])
    before = np.zeros(4)  # one half of everything
    after = np.array([math.log(3), -math.log(3), 0.0, -math.log(3)])
    found = compare(bad, before, after, ["a", "a", "b", "b"], 0.95)
    assert (found.labels, found.users, found.confidence) == (4, 2, 0.95)
    assert found.log_loss_before == pytest.approx(math.log(2))
    costs = [-math.log(0.75), -math.log(0.75), math.log(2), -math.log(0.25)]
    assert found.log_loss_after == pytest.approx(sum(costs) / 4)
    assert found.log_loss_gain.value == pytest.approx(math.log(2) - sum(costs) / 4)
    # Two pairs of a bad and a good label: one right, one tied; the label of a half ranks nothing.
    assert found.auroc_before.value == 0.5
    assert found.auroc_after.value == 0.75
    assert found.auroc_gain.value == 0.25
    # Whole users are drawn: a twice, each once, b twice.
    gain_a, gain_b = (math.log(2) - sum(costs[:2]) / 2), (math.log(2) - sum(costs[2:]) / 2)
    assert found.log_loss_gain.low == pytest.approx(min(gain_a, gain_b))
    assert found.log_loss_gain.high == pytest.approx(max(gain_a, gain_b))
    # a alone ranks its pair right; b alone has no pair.
    assert (found.auroc_after.low, found.auroc_after.high) == (0.5, 1.0)


def test_the_same_head_gains_nothing_whatever_users_are_drawn() -> None:
    random = np.random.default_rng(1)
    bad, logits = random.integers(0, 2, 60).astype(float), random.normal(size=60)
    users = [str(n % 12) for n in range(60)]
    found = compare(bad, logits, logits, users, 0.99)
    assert (found.log_loss_gain, found.auroc_gain) == (Interval(0, 0, 0), Interval(0, 0, 0))
    assert verdict(found, RULES) == NOT_BETTER
    turned = compare(bad, logits, -logits, users, 0.99)
    assert turned.auroc_after.value == pytest.approx(1 - turned.auroc_before.value)


def test_users_weigh_by_their_labels_and_an_interval_widens_with_confidence() -> None:
    random = np.random.default_rng(2)
    bad = random.integers(0, 2, 200).astype(float)
    before, after = random.normal(size=200), random.normal(size=200)
    users = [str(n % 25) for n in range(200)]
    narrow, wide = (compare(bad, before, after, users, c) for c in (0.9, 0.999))
    assert narrow.log_loss_gain.value == wide.log_loss_gain.value
    assert wide.log_loss_gain.low < narrow.log_loss_gain.low
    assert wide.auroc_after.high > narrow.auroc_after.high
    assert compare(bad, before, after, users, 0.9) == narrow  # seeded
