"""The pure numbers of offline reward models, by hand."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from services.reward.learning import calibration, coral, traits
from services.reward.learning.groups import (
    Comparisons,
    even_weights,
    fit_reward,
    group,
    rightness,
)
from services.reward.learning.patience import log_likelihoods
from services.reward.learning.trust import weigh
from shared.statistics.welfare import gini, welfare


def test_gini_by_hand() -> None:
    # Half the relative mean absolute difference of 1, 2, 3: (2·(1+2+1)/9) / (2·2) = 2/9.
    assert gini([3, 1, 2]) == pytest.approx(2 / 9)
    assert gini([0, 0, 0, 1]) == pytest.approx(3 / 4)
    assert gini([5, 5]) == 0
    assert gini([0, 0]) == 0


def test_welfare_by_hand() -> None:
    found = welfare([1.0, 0.5, 0.0, 0.5], [0, 0, 1, 1])
    assert (found.mean, found.worst_group) == (0.5, 0.25)
    assert found.percentile_20 == pytest.approx(0.3)
    assert found.gini == pytest.approx((-3 * 0 - 0.5 + 0.5 + 3) / (4 * 2))
    with pytest.raises(ValueError, match="somebody"):
        welfare([], [])


def test_calibration_error_by_hand() -> None:
    margin = log(3)  # stated 0.75
    margins = np.array([margin, margin, -margin, margin])
    confidences = np.array([1.0, 0.0, 0.0, 1.0])
    # Three of four are right, as stated.
    assert calibration.calibration_error(margins, confidences, 1.0) == pytest.approx(0)
    assert calibration.calibration_error(margins, np.zeros(4), 1.0) == pytest.approx(0.5)


def test_the_temperature_makes_what_is_said_true() -> None:
    margins = np.array([4.0, 4.0, 4.0, 4.0])
    found = calibration.fit_temperature(margins, np.array([1.0, 1.0, 1.0, 0.0]))
    assert found == pytest.approx(4 / log(3), rel=0.02)


def test_a_soft_label_asks_for_its_own_probability() -> None:
    """One pair of confidence 0.8 and hardly any L2: σ(θ) = 0.8."""
    data = Comparisons(
        np.ones((1, 1)), np.ones(1), np.array([0.8]), np.zeros(1, dtype=np.int64), np.zeros(1)
    )
    assert fit_reward(data, 1e-9)[0] == pytest.approx(log(4), abs=1e-3)
    assert log_likelihoods(np.array([log(4)]), np.array([0.8]))[0] == pytest.approx(
        0.8 * log(0.8) + 0.2 * log(0.2)
    )
    assert rightness(np.array([1.0, -1.0, 0.0]), np.array([0.8, 0.8, 0.8])).tolist() == (
        pytest.approx([0.8, 0.2, 0.5])
    )


def test_nobody_has_more_than_one_voice() -> None:
    users = np.array([0, 1, 2, 2, 2, 2, -1])
    assert even_weights(users).tolist() == [1, 1, 0.25, 0.25, 0.25, 0.25, 1]
    assert even_weights(users, most=2).tolist() == [1, 1, 0.5, 0.5, 0.5, 0.5, 1]


def test_users_of_opposed_tastes_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(20), 6)
    wants = np.where(users < 5, -1.0, 1.0)
    differences = np.column_stack([wants + 0.3 * rng.normal(size=120), rng.normal(size=120)])
    data = Comparisons(differences, np.ones(120), np.ones(120), users, np.zeros(120))
    found = group(data, 2, 0.03)
    assert found.of_user.tolist() == [1] * 5 + [0] * 15
    assert found.rewards[0][0] > 0.5 > -0.5 > found.rewards[1][0]


def test_a_handful_is_no_group() -> None:
    users = np.repeat(np.arange(40), 6)
    differences = np.where(users < 2, -1.0, 1.0)[:, None]
    data = Comparisons(differences, np.ones(240), np.ones(240), users, np.zeros(240))
    assert group(data, 2, 0.03).count == 1


def test_weights_of_users_by_the_estimator() -> None:
    agreeing, labels = np.array([80.0, 80, 80, 10, 3]), np.array([100.0, 100, 100, 100, 5])
    found = weigh(agreeing, labels, np.ones(5))
    assert found[:3].tolist() == [1, 1, 1]
    assert found[3] == 0
    assert found[4] == 1, "three of five are no proof"
    # Somewhat less reliable: (2p - 1) / (2r - 1) with r = 300/400 and p = (60 + 4r) / 104.
    found = weigh(np.array([80.0, 80, 80, 60]), np.full(4, 100.0), np.ones(4))
    p = (60 + 4 * 0.75) / 104
    assert found[3] == pytest.approx((2 * p - 1) / 0.5)


def test_coral_by_hand() -> None:
    head = coral.Coral(np.array([1.0]), np.array([log(3), -log(3)]))
    assert head.scores(np.zeros((1, 1)))[0] == pytest.approx(1 + 0.75 + 0.25)
    one = coral.loss(np.array([0.0, 0.0, 0.0]), np.zeros((1, 1)), np.ones((1, 2)), np.ones(1), 1.0)
    assert one == pytest.approx(2 * log(2))


def test_coral_learns_the_order_and_its_gradient_is_right() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 2))
    ratings = np.clip(np.round(3 + 1.5 * x[:, 0]), 1, 5).astype(np.int64)
    head = coral.fit(x, ratings, 1e-3)
    assert np.corrcoef(head.scores(x), ratings)[0, 1] > 0.95
    assert (np.diff(head.thresholds) <= 0).all()
    above = (ratings[:, None] > np.arange(1, 5)).astype(float)
    at, weights = rng.normal(size=6), rng.random(300)
    slope = coral.gradient(at, x, above, weights, 0.1)
    for place in range(6):
        step = np.eye(6)[place] * 1e-6
        rise = coral.loss(at + step, x, above, weights, 0.1)
        fall = coral.loss(at - step, x, above, weights, 0.1)
        assert slope[place] == pytest.approx((rise - fall) / 2e-6, abs=1e-5)


def test_tastes_are_named() -> None:
    short = traits.matrix(["Yes."] * 8 + ["Of course not."] * 8)
    long = traits.matrix([f"Well, {'very ' * n}long." for n in range(8, 24)])
    wants_short = traits.preferences(short - long, long - short)
    assert wants_short[0][0] in ("shorter", "not repetitive", "short sentences")
    assert "shorter" in [words for words, _ in wants_short]
    assert traits.preferences(short - short) == []
    assert traits.name([("shorter", -9.0), ("calm", -2.5)], []) == "shorter"
    assert traits.name([("shorter", -9.0), ("calm", -8.0)], []) == "shorter and calm"
    assert traits.name([("shorter", -9.0)], ["shorter"]) == "shorter (2)"
    assert traits.name([], []) == "no clear taste"


def test_sigmoid_stays_finite() -> None:
    assert calibration.sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist() == [0, 0.5, 1]
    assert calibration.sigmoid(np.array([1.0]))[0] == pytest.approx(1 / (1 + exp(-1)))
