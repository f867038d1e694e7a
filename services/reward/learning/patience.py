"""How readily a user says that they are content: a shift of their own in every judged answer's margin.

A user u of group k is content with answer x with the probability

    P(content) = σ(a_u + θ_k·(x - reference)),    a_u ~ N(m, s²)

A random intercept, as in mixed-effects logistic regression (Stiratelli, Laird and Ware 1984, Biometrics 40),
integrated over by Gauss-Hermite quadrature. m and s are learnt, and the same for every group: who grumbles at
everything, or puts up with everything, is in no group for that. Between two answers a_u cancels. s has bounds:
without the upper one, patience would explain every difference between users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
LEAST_SPREAD, MOST_SPREAD = 0.3, 0.5
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_LOG_WEIGHTS = np.log(_WEIGHTS / _WEIGHTS.sum())


@dataclass(frozen=True)
class Patience:
    """m and s."""

    mean: float = 0.0
    spread: float = 1.0


@dataclass(frozen=True)
class Patient:
    """By user, (U,): the log-likelihood of all their rows, and the mean and variance of a_u given these."""

    log_likelihood: Array
    mean: Array
    variance: Array


def log_likelihoods(margins: Array, confidences: Array) -> Array:
    """Of each row's label, under σ(margin)."""
    won, lost = -np.logaddexp(0.0, -margins), -np.logaddexp(0.0, margins)
    found: Array = confidences * won + (1 - confidences) * lost
    return found


def integrated(
    margins: Array, confidences: Array, levels: Array, users: Ints, count: int, patience: Patience
) -> Patient:
    """`levels` (n,): 1 for an answer that its user was content with, -1 for one they were not, 0 for two
    compared. `users` (n,) in 0..count-1."""
    values = patience.mean + patience.spread * _NODES
    logs = np.stack(
        [
            np.bincount(
                users,
                weights=log_likelihoods(margins + levels * value, confidences),
                minlength=count,
            )
            for value in values
        ],
        axis=1,
    )
    logs = logs + _LOG_WEIGHTS
    highest = logs.max(axis=1, keepdims=True)
    odds = np.exp(logs - highest)
    total = odds.sum(axis=1)
    mean = odds @ values / total
    variance = odds @ values**2 / total - mean**2
    return Patient(highest[:, 0] + np.log(total), mean, variance)


def learnt(mean: Array, variance: Array) -> Patience:
    """Of the users whom `mean` and `variance` (U,) are of."""
    if not len(mean):
        return Patience()
    middle = float(mean.mean())
    spread = float(np.sqrt(((mean - middle) ** 2 + variance).mean()))
    return Patience(middle, float(np.clip(spread, LEAST_SPREAD, MOST_SPREAD)))
