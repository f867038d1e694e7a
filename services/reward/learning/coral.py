"""Rank-consistent ordinal regression for ratings.

CORAL (Cao, Mirjalili and Raschka 2020, arXiv 1901.07884, eq. 4 and 5; as a reward head in WildReward):
for ratings 1..K one score f = w·x and K - 1 thresholds, P(rating > k) = σ(f + b_k), trained by the
binary cross entropy of each. The served score is 1 + Σ_k σ(f + b_k). Departures: a linear score on
frozen features, L2 on w, fitted by L-BFGS, rows with weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.reward.learning.calibration import sigmoid

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Coral:
    """`coefficients` (d,), `thresholds` (K - 1,) that do not rise."""

    coefficients: Array
    thresholds: Array

    def scores(self, features: Array) -> Array:
        """(n,) in (1, K)."""
        logits = (features @ self.coefficients)[:, None] + self.thresholds
        total: Array = 1 + sigmoid(logits).sum(axis=1)
        return total


def loss(parameters: Array, features: Array, above: Array, weights: Array, l2: float) -> float:
    """`parameters`: w, then b. `above` (n, K - 1) is 1 where the rating is over k."""
    logits, _ = _logits(parameters, features)
    lost = np.logaddexp(0.0, logits) - above * logits
    w = parameters[: features.shape[1]]
    return float((lost.sum(axis=1) @ weights) / weights.sum() + l2 / 2 * (w @ w))


def gradient(parameters: Array, features: Array, above: Array, weights: Array, l2: float) -> Array:
    logits, w = _logits(parameters, features)
    missed = (sigmoid(logits) - above) * (weights / weights.sum())[:, None]
    return np.concatenate([features.T @ missed.sum(axis=1) + l2 * w, missed.sum(axis=0)])


def fit(features: Array, ratings: Ints, l2: float, weights: Array | None = None) -> Coral:
    """`ratings` (n,) in 1..K. Raises ValueError unless there are two ratings and l2 > 0."""
    from scipy.optimize import minimize

    levels = int(ratings.max()) if len(ratings) else 0
    if len(np.unique(ratings)) < 2 or not l2 > 0:
        raise ValueError("an ordinal head needs two ratings that differ, and a positive l2")
    above = (ratings[:, None] > np.arange(1, levels)).astype(np.float64)
    weight = np.ones(len(ratings)) if weights is None else weights
    start = np.zeros(features.shape[1] + levels - 1)
    found = minimize(loss, start, (features, above, weight, l2), jac=gradient, method="L-BFGS-B").x
    # The loss has them in order at its minimum (theorem 1); the sort removes rounding.
    return Coral(found[: features.shape[1]], -np.sort(-found[features.shape[1] :]))


def _logits(parameters: Array, features: Array) -> tuple[Array, Array]:
    w, b = parameters[: features.shape[1]], parameters[features.shape[1] :]
    return (features @ w)[:, None] + b, w
