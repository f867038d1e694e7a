"""Intervals: what a figure from so many cases may be, seeded and pure.

- Wilson's score interval for one rate (Wilson 1927, JASA 22, eq. for the roots of the score test).
- Newcombe's hybrid score interval for a difference of two rates (Newcombe 1998, Stat. Med. 17,
  method 10).
- The percentile bootstrap of a mean, resampling whole groups (users) where cases of one user are
  not independent (Efron and Tibshirani 1993, ch. 13; Davison and Hinkley 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Bounds of the rate successes / n, in [0, 1]; (0, 1) when n is 0. Halves (ties) are allowed.

    Raises ValueError unless 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes {successes} must lie between 0 and n {n}")
    if n == 0:
        return 0.0, 1.0
    z = _z(confidence)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def difference_of_rates(
    successes_1: float, n_1: float, successes_2: float, n_2: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Newcombe's bounds of rate 1 minus rate 2, in [-1, 1]; (-1, 1) when either n is 0."""
    if n_1 == 0 or n_2 == 0:
        return -1.0, 1.0
    rate_1, rate_2 = successes_1 / n_1, successes_2 / n_2
    low_1, high_1 = wilson(successes_1, n_1, confidence)
    low_2, high_2 = wilson(successes_2, n_2, confidence)
    difference = rate_1 - rate_2
    low = difference - sqrt((rate_1 - low_1) ** 2 + (high_2 - rate_2) ** 2)
    high = difference + sqrt((high_1 - rate_1) ** 2 + (rate_2 - low_2) ** 2)
    return max(-1.0, low), min(1.0, high)


def bootstrap_mean(
    values: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    rounds: int = 1000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bounds of the mean over all values; whole groups are resampled when given.

    With one value or one group the bounds are the mean itself: nothing can be said about spread, so
    look at the count. Raises ValueError for no values or groups of another length.
    """
    if not len(values) or (groups is not None and len(groups) != len(values)):
        raise ValueError("values must not be empty, and groups as many as values")
    keys = range(len(values)) if groups is None else groups
    sums: dict[Hashable, list[float]] = {}
    for key, value in zip(keys, values, strict=True):
        total = sums.setdefault(key, [0.0, 0.0])
        total[0] += value
        total[1] += 1
    table = np.array(list(sums.values()))
    drawn = np.random.default_rng(seed).integers(len(table), size=(rounds, len(table)))
    resampled = table[drawn].sum(axis=1)
    means = resampled[:, 0] / resampled[:, 1]
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1")
    return NormalDist().inv_cdf(0.5 + confidence / 2)
