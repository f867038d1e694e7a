"""The loss by hand, its gradient by differences, its minimum in closed form."""

from math import exp, log

import numpy as np
import pytest

from services.reward.learning.bradley_terry import fit, gradient, loss


def test_loss_by_hand() -> None:
    # margins 0.5 and -1; -log σ: 0.474077 and 1.313262; weights 1 and 3; L2 0.1 / 2 * 0.25
    value = loss(np.array([0.5]), np.array([[1.0], [-2.0]]), np.array([1.0, 3.0]), 0.1)
    assert value == pytest.approx((0.474077 + 3 * 1.313262) / 4 + 0.0125, abs=1e-6)


def test_an_indifferent_reward_costs_log_two() -> None:
    assert loss(np.zeros(2), np.ones((4, 2)), np.ones(4), 1.0) == pytest.approx(log(2))


def test_gradient_is_the_slope_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    differences, weights, theta = rng.normal(size=(7, 3)), rng.random(7), rng.normal(size=3)
    slope = gradient(theta, differences, weights, 0.2)
    for axis in range(3):
        step = np.eye(3)[axis] * 1e-6
        rise = loss(theta + step, differences, weights, 0.2) - loss(
            theta - step, differences, weights, 0.2
        )
        assert slope[axis] == pytest.approx(rise / 2e-6, abs=1e-6)


def test_fit_finds_the_minimum_known_in_closed_form() -> None:
    # One comparison of difference 1: σ(-θ) = λ θ, so λ = σ(-1) gives θ = 1.
    theta = fit(np.array([[1.0]]), np.array([2.0]), 1 / (1 + exp(1)))
    assert theta == pytest.approx([1.0], abs=1e-5)


def test_fit_in_the_span_equals_fit_in_full() -> None:
    rng = np.random.default_rng(1)
    differences, weights = rng.normal(size=(5, 9)), np.ones(5)
    theta = fit(differences, weights, 0.1)
    assert np.abs(gradient(theta, differences, weights, 0.1)).max() < 1e-5


def test_fit_refuses_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="comparisons"):
        fit(np.zeros((0, 2)), np.zeros(0), 0.1)
