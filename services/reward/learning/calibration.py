"""Whether "70% sure" is right 70% of the time, for preferences: pure functions of margins.

Temperature scaling and expected calibration error after Guo et al. 2017 (arXiv 1706.04599), on the
margin reward(chosen) - reward(rejected), P(chosen is better) = σ(margin / T). Departures: the bins
are over confidence max(p, 1 - p) in [0.5, 1]; rows may carry weights; labels may be soft.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_TEMPERATURES = np.geomspace(0.05, 50.0, 241)


def sigmoid(x: Array) -> Array:
    probability: Array = np.exp(-np.logaddexp(0.0, -x))
    return probability


def log_loss(margins: Array, confidences: Array, temperature: float) -> float:
    """Mean of -c·log σ(m/T) - (1-c)·log σ(-m/T)."""
    z = margins / temperature
    lost = confidences * np.logaddexp(0.0, -z) + (1 - confidences) * np.logaddexp(0.0, z)
    return float(lost.mean())


def fit_temperature(margins: Array, confidences: Array) -> float:
    """The one of a fine grid with the least log loss. Raises ValueError for no margins."""
    if not len(margins):
        raise ValueError("a temperature needs margins")
    losses = [log_loss(margins, confidences, float(t)) for t in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def calibration_error(
    margins: Array, confidences: Array, temperature: float, bins: int = 10
) -> float:
    """Mean gap between stated and found accuracy over equal bins of [0.5, 1], weighted by size.

    What is found right of a pair is `confidences` where the margin is positive, one minus it where
    it is negative, and one half for a tie.
    """
    p = sigmoid(margins / temperature)
    stated = np.maximum(p, 1 - p)
    right = np.where(margins > 0, confidences, np.where(margins < 0, 1 - confidences, 0.5))
    which = np.minimum(((stated - 0.5) * 2 * bins).astype(int), bins - 1)
    gaps = [
        float((which == one).mean() * abs(stated[which == one].mean() - right[which == one].mean()))
        for one in np.unique(which)
    ]
    return sum(gaps)
