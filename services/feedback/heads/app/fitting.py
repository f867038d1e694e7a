"""Corrects the shipped head of dissatisfaction by a tenant's own labels.

    logit = slope * z + shift + x d

with z the shipped head's logit and x its inputs. Slope and shift alone are Platt's scaling (Platt 1999);
d refits the head with the shipped one as the prior: its weights are held to those shipped by L2 (a
Gaussian prior; "regularised adaptation", Chelba & Acero 2004). How strongly is chosen by cross entropy
on folds of users that were not fitted on; infinitely strong leaves Platt's scaling. Departure: the slope
has a prior, too, worth about four labels, so that a few labels cannot overturn the head. Labels may be soft.
Pure functions of arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.feedback.heads.domain import Correction
from services.feedback.mining.app.features import Floats

Numbers = NDArray[np.int64]
RECALIBRATED = math.inf
# The shipped head was fitted with 1 / 0.1 to 1 / 0.01.
STRENGTHS = (RECALIBRATED, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3)
_SLOPE_PULL = 1.0
_STEPS = 200


def fit(rows: Any, shipped: Floats, bad: Floats, strength: float) -> Correction:
    """`bad` [n] in [0, 1]. Raises ValueError unless some are above and some below a half."""
    if not (bad > 0.5).any() or not (bad < 0.5).any():
        raise ValueError("labels above and below one half are needed")
    columns = np.zeros(0, dtype=np.int64)
    if math.isfinite(strength):
        columns = np.flatnonzero(np.diff(rows.tocsc().indptr)).astype(np.int64)
    used = rows[:, columns].tocsr() if len(columns) else None
    found = _least(_objective(used, shipped, bad, strength), 2 + len(columns))
    return Correction(float(found[0]), float(found[1]), columns, found[2:])


def choose_strength(
    rows: Any,
    shipped: Floats,
    bad: Floats,
    folds: Sequence[int],
    strengths: Sequence[float] = STRENGTHS,
) -> float:
    """The one with the least cross entropy on the folds left out; the strongest of equals. Folds that
    cannot be judged (the others say one thing only) are left out."""
    number = np.array(folds)
    losses = dict.fromkeys(strengths, 0.0)
    for fold in np.unique(number):
        inside, outside = np.flatnonzero(number != fold), np.flatnonzero(number == fold)
        for strength in strengths:
            try:
                found = fit(rows[inside], shipped[inside], bad[inside], strength)
            except ValueError:
                break
            logits = found.logits(rows[outside], shipped[outside])
            losses[strength] += float(cross_entropy(logits, bad[outside]).sum())
    return min(strengths, key=lambda one: (losses[one], -one))


def cross_entropy(logits: Floats, bad: Floats) -> Floats:
    """[n], in nats: log(1 + e^z) - y z."""
    return np.asarray(np.logaddexp(0.0, logits) - bad * logits)


def sigmoid(logits: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def _objective(
    used: Any, shipped: Floats, bad: Floats, strength: float
) -> Callable[[Floats], tuple[float, Floats]]:
    """Cross entropy, half the strength times |d|^2, and the pull of the slope to one; with slopes."""

    def loss(numbers: Floats) -> tuple[float, Floats]:
        slope, shift, own = numbers[0], numbers[1], numbers[2:]
        logits = slope * shipped + shift + (used @ own if used is not None else 0.0)
        error = sigmoid(logits) - bad
        value = cross_entropy(logits, bad).sum() + _SLOPE_PULL / 2 * (slope - 1.0) ** 2
        gradient = [error @ shipped + _SLOPE_PULL * (slope - 1.0), error.sum()]
        if used is None:
            return float(value), np.array(gradient)
        value += strength / 2 * (own @ own)
        return float(value), np.concatenate([gradient, used.T @ error + strength * own])

    return loss


def _least(loss: Callable[[Floats], tuple[float, Floats]], numbers: int) -> Floats:
    from scipy.optimize import minimize

    start = np.zeros(numbers)
    start[0] = 1.0
    options = {"maxiter": _STEPS, "ftol": 1e-10}
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x)
