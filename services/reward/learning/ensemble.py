"""A cross-fitted ensemble of linear Bradley-Terry rewards.

Members (k, b): fold k is left out, b is one bootstrap over users (Lakshminarayanan et al. 2017 for
ensembles as uncertainty; Chernozhukov et al. 2018 for cross-fitting; Efron and Tibshirani 1993 for
resampling whole clusters). A user of fold k is judged by the members (k, ·) alone, which never saw
that user's data: not in the loss, not in the standardisation. Users held out from everything are in
no member, so all members judge them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.reward.learning.bradley_terry import fit

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Below this standard deviation a feature is taken as constant: it must not be blown up.
_LEAST_SPREAD = 0.05
NO_FOLD = -1


@dataclass(frozen=True)
class Ensemble:
    """rewards = x @ coefficients.T + intercepts, one column a member; `left_out` (M,) is each one's
    fold."""

    coefficients: Array
    intercepts: Array
    left_out: Ints

    def rewards(self, features: Array) -> Array:
        """(n, M)"""
        return features @ self.coefficients.T + self.intercepts

    def scores(self, features: Array, folds: Sequence[int]) -> tuple[Array, Array]:
        """Mean and standard deviation over the members that may judge, (n,) each.

        `folds[i]` is the user's fold, or NO_FOLD where every member may judge (no user, or one that
        is held out from all).
        """
        every = self.rewards(features)
        wanted = np.asarray(folds)[:, None]
        allowed = (wanted == NO_FOLD) | (self.left_out[None, :] == wanted)
        judged = np.where(allowed, every, np.nan)
        return np.nanmean(judged, axis=1), np.nanstd(judged, axis=1)


@dataclass(frozen=True)
class TrainingSet:
    """`better`, `worse` (n, d); `weights` (n,); `users[i]` whose data row i is, `fold_of` their
    folds.

    `blocks`: widths of groups of features that count alike, whatever their width.
    """

    better: Array
    worse: Array
    weights: Array
    users: Sequence[tuple[str, ...]]
    fold_of: dict[str, int]
    blocks: tuple[int, ...]


def train(data: TrainingSet, folds: int, bootstraps: int, l2: float, seed: int = 0) -> Ensemble:
    """folds x bootstraps members. Raises ValueError if a fold's complement holds no comparison."""
    fitted = []
    for left_out in range(folds):
        rows = rows_without(data, left_out)
        if not len(rows):
            raise ValueError(f"all comparisons come from users in fold {left_out}")
        for bootstrap in range(bootstraps):
            rng = np.random.default_rng([seed, left_out, bootstrap])
            fitted.append((*_member(data, rows, l2, rng), left_out))
    coefficients, intercepts, left = zip(*fitted, strict=True)
    return Ensemble(np.array(coefficients), np.array(intercepts), np.array(left, dtype=np.int64))


def rows_without(data: TrainingSet, left_out: int) -> Ints:
    """Rows that are not data of any user in the fold."""
    clear = [all(data.fold_of[u] != left_out for u in users) for users in data.users]
    return np.flatnonzero(clear)


def _member(
    data: TrainingSet, rows: Ints, l2: float, rng: np.random.Generator
) -> tuple[Array, float]:
    better, worse = data.better[rows], data.worse[rows]
    answers = np.vstack([better, worse])
    scale = np.maximum(answers.std(axis=0), _LEAST_SPREAD) * _block_scale(data.blocks)
    weights = data.weights[rows] * _drawn([data.users[row] for row in rows], rng)
    theta = fit((better - worse) / scale, weights, l2) / scale
    rewards = answers @ theta
    spread = max(float(rewards.std()), 1e-9)
    return theta / spread, -float(rewards.mean()) / spread


def _block_scale(blocks: tuple[int, ...]) -> Array:
    """Divides each block by the root of its width: 768 embedding features weigh no more than 12
    others."""
    return np.concatenate([np.full(width, float(width) ** 0.5) for width in blocks])


def _drawn(users: list[tuple[str, ...]], rng: np.random.Generator) -> Array:
    """How often each row is drawn when its (first) user is drawn with replacement; never all
    zero."""
    names = sorted({of_row[0] for of_row in users})
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)))
    times = dict(zip(names, draws, strict=True))
    return np.array([float(times[of_row[0]]) for of_row in users])
