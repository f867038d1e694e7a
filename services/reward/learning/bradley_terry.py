"""The Bradley-Terry loss and its minimum for a linear reward.

P(w beats l) = σ(r_w - r_l) (Bradley and Terry 1952, Biometrika 39, eq. 1, with log-strengths), with
r = θ·x as reward models of RLHF have it (Christiano et al. 2017, arXiv 1706.03741, eq. 1; Ouyang et
al. 2022, arXiv 2203.02155, eq. 1). Departures: a linear head on frozen features instead of a whole
language model; comparisons carry weights; L2 on θ; a comparison may have an offset o_i that is known.

    L(θ) = Σ_i a_i · -log σ(θ·d_i + o_i) / Σ_i a_i + λ/2 · |θ|²,    d_i = x_w - x_l

It is strictly convex for λ > 0, so damped Newton steps find its one minimum.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def loss(
    theta: Array, differences: Array, weights: Array, l2: float, offsets: Array | float = 0.0
) -> float:
    """`differences` (n, d) of better minus worse, `weights` (n,) with a positive sum, `offsets` (n,)."""
    margins = differences @ theta + offsets
    data = float(weights @ np.logaddexp(0.0, -margins)) / float(weights.sum())
    return data + l2 / 2 * float(theta @ theta)


def gradient(
    theta: Array, differences: Array, weights: Array, l2: float, offsets: Array | float = 0.0
) -> Array:
    missed = _sigmoid(-(differences @ theta + offsets)) * weights / weights.sum()
    slope: Array = l2 * theta - differences.T @ missed
    return slope


def fit(
    differences: Array,
    weights: Array,
    l2: float,
    offsets: Array | float = 0.0,
    start: Array | None = None,
    steps: int = 30,
    tolerance: float = 1e-6,
) -> Array:
    """θ at the minimum, (d,), looked for from `start`. Raises ValueError without comparisons or for l2 <= 0.

    θ lies in the span of the differences, so Newton's system is solved there: at most n unknowns.
    """
    if not len(differences) or not weights.sum() > 0 or not l2 > 0:
        raise ValueError("fit needs comparisons with weight and a positive l2")
    basis, coordinates = _span(differences)
    alpha: Array = np.zeros(basis.shape[0]) if start is None else start @ basis.T
    for _ in range(steps):
        slope = gradient(alpha, coordinates, weights, l2, offsets)
        if float(np.abs(slope).max()) < tolerance:
            break
        hessian = _hessian(alpha, coordinates, weights, l2, offsets)
        step = np.asarray(np.linalg.solve(hessian, slope), dtype=np.float64)
        size = _damping(lambda at: loss(at, coordinates, weights, l2, offsets), alpha, step, slope)
        alpha = alpha - size * step
    return alpha @ basis


def _span(differences: Array) -> tuple[Array, Array]:
    """An orthonormal basis (k, d) of the rows and their coordinates in it (n, k)."""
    if len(differences) >= differences.shape[1]:
        return np.eye(differences.shape[1]), differences
    basis = np.linalg.qr(differences.T)[0].T
    return basis, differences @ basis.T


def _hessian(
    theta: Array, differences: Array, weights: Array, l2: float, offsets: Array | float
) -> Array:
    p = _sigmoid(differences @ theta + offsets)
    curvature = p * (1 - p) * weights / weights.sum()
    ridge: Array = (differences.T * curvature) @ differences + l2 * np.eye(len(theta))
    return ridge


def _damping(lost: Callable[[Array], float], theta: Array, step: Array, slope: Array) -> float:
    """Armijo backtracking: a whole step unless it does not lower the loss enough."""
    start, size, expected = lost(theta), 1.0, float(slope @ step)
    while size > 1e-4:
        if lost(theta - size * step) <= start - 1e-4 * size * expected:
            return size
        size /= 2
    return size


def _sigmoid(x: Array) -> Array:
    probability: Array = np.exp(-np.logaddexp(0.0, -x))
    return probability
