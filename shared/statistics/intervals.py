"""Confidence intervals of figures, seeded and pure.

- Wilson's score interval for one rate (Wilson 1927, JASA 22, eq. for the roots of the score test).
- Newcombe's hybrid score interval for a difference of two rates (Newcombe 1998, Stat. Med. 17,
  method 10).
- The percentile bootstrap of a mean, resampling whole groups (users) where cases of one user are
  not independent (Efron and Tibshirani 1993, ch. 13; Davison and Hinkley 1997, section 3.8).
- `rate`: Wilson's interval, widened to that bootstrap where users have several cases. Every rate
  that is shown or used for a decision is one of these.
- A difference computed from the two intervals alone: Newcombe's method with any bounds in place of
  Wilson's (MOVER; Zou and Donner 2008, Stat. Med. 27).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Draws beyond each end of a bootstrap interval; how many numbers are drawn at a time, and in all.
_TAIL, _AT_ONCE, _MOST_NUMBERS = 20, 200_000, 5_000_000


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Bounds of the rate successes / n, in [0, 1]; (0, 1) when n is 0. Half successes (ties) are allowed.

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
    # The rate lies between them; rounding must not push it outside.
    return max(0.0, min(centre - half, rate)), min(1.0, max(centre + half, rate))


def difference_of_rates(
    successes_1: float, n_1: float, successes_2: float, n_2: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Newcombe's bounds of rate 1 minus rate 2, in [-1, 1]; (-1, 1) when either n is 0."""
    one, other = (
        Interval(
            k / n if n else 0.5, *wilson(k, n, confidence), ceil(n), ceil(n), confidence, "wilson"
        )
        for k, n in ((successes_1, n_1), (successes_2, n_2))
    )
    return difference(one, other)


@dataclass(frozen=True, slots=True)
class Interval:
    """`value` over `count` cases in `groups` groups (users), between `low` and `high` at `confidence`; `method`
    says how the bounds were computed."""

    value: float
    low: float
    high: float
    count: int
    groups: int
    confidence: float
    method: str


def rate(
    outcomes: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The rate of outcomes in [0, 1]; a tie is 0.5. `groups` names each case's user: cases of one user are
    alike, so where users have several, the interval is widened to the bootstrap by user, and a lone
    user counts as one case. (0.5, 0, 1) without cases.

    Raises ValueError unless `groups` is as long as `outcomes`.
    """
    count = len(outcomes)
    several = count if groups is None else len(set(groups))
    if groups is not None and len(groups) != count:
        raise ValueError("there must be as many groups as outcomes")
    value = sum(outcomes) / count if count else 0.5
    low, high = wilson(value * count, count, confidence)
    method = "wilson"
    if several < count:
        method = "wilson widened to bootstrap-by-user"
        if several == 1:
            low, high = wilson(value, 1, confidence)
        else:
            by_user = bootstrap_mean(outcomes, groups, seed, confidence=confidence)
            low, high = min(low, by_user[0]), max(high, by_user[1])
    return Interval(value, min(low, value), max(high, value), count, several, confidence, method)


def mean(
    values: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean of any values with a bootstrap interval, by user where `groups` names each value's user;
    (0, 0, 0) without values."""
    method = "bootstrap" if groups is None else "bootstrap-by-user"
    count = len(values)
    several = count if groups is None else len(set(groups))
    if not count:
        return Interval(0.0, 0.0, 0.0, 0, 0, confidence, method)
    low, high = bootstrap_mean(values, groups, seed, confidence=confidence)
    value = sum(values) / count
    return Interval(value, min(low, value), max(high, value), count, several, confidence, method)


class Bounded(Protocol):
    """A figure with its bounds, such as an Interval."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def count(self) -> int: ...


def difference(one: Bounded, other: Bounded) -> tuple[float, float]:
    """Bounds of `one` minus `other`, both at the same confidence; (-1, 1) if either has no cases."""
    if not one.count or not other.count:
        return -1.0, 1.0
    gap = one.value - other.value
    low = gap - sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    high = gap + sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    return max(-1.0, low), min(1.0, high)


def bootstrap_mean(
    values: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    rounds: int = 1000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bounds of the mean over all values; whole groups are resampled if given. More rounds than
    `rounds` are drawn where the confidence needs them: _TAIL beyond each end, as far as memory allows.

    With one value or one group the bounds are the mean itself: the spread is unknown, so look at the
    count. Raises ValueError without values, or unless `groups` is as long as `values`.
    """
    if not len(values) or (groups is not None and len(groups) != len(values)):
        raise ValueError("there must be values, and as many groups as values")
    keys = range(len(values)) if groups is None else groups
    sums: dict[Hashable, list[float]] = {}
    for key, value in zip(keys, values, strict=True):
        total = sums.setdefault(key, [0.0, 0.0])
        total[0] += value
        total[1] += 1
    table = np.array(list(sums.values()))
    tail = (1 - confidence) / 2
    wanted = min(ceil(_TAIL / tail), max(rounds, _MOST_NUMBERS // len(table)))
    means = _resampled(table, max(rounds, wanted), seed)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _resampled(table: Floats, rounds: int, seed: int) -> Floats:
    """[rounds]: means over resampled rows of `table` [groups, (sum, count)], one part at a time."""
    random, parts = np.random.default_rng(seed), []
    sums, counts = np.ascontiguousarray(table.T)
    at_once = max(_AT_ONCE // len(table), 1)
    for start in range(0, rounds, at_once):
        drawn = random.integers(len(table), size=(min(at_once, rounds - start), len(table)))
        parts.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(parts)


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1")
    return NormalDist().inv_cdf(0.5 + confidence / 2)
