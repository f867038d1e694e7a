"""e-detectors for a stream of values in [0, 1] whose mean may rise (Shin, Ramdas and Rinaldo 2022,
arXiv 2203.03532, sections 2 and 3).

For a bound m0 on the mean before a change and a bet lambda in [0, 1/m0),

    e_t(lambda) = 1 + lambda (x_t - m0)                        (their "baseline increments")

is nonnegative and has mean at most 1 while E[x_t | past] <= m0. From the increments come

    Shiryaev-Roberts  M_t = (M_{t-1} + 1) e_t        CUSUM  C_t = max(C_{t-1}, 1) e_t .

The average of M_t over a grid of bets is an e-detector too. The alarm at M_t >= 1/alpha has a mean
run length to a false alarm of at least 1/alpha, because M_t - t is a supermartingale: independence
is not needed, only the bound on each value's mean given those before it. A falling mean is the
same test on 1 - x.

Departures: the grid of bets is fixed (FRACTIONS of 1/m0) where the paper derives one from a range
of alternatives; the CUSUM is used for the change point alone.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp, lgamma, log, log1p, sqrt
from typing import Any

from services.drift.detectors.detector import Reference
from shared.statistics.betting import log_mean_exp
from shared.statistics.intervals import bootstrap_mean

# Bets as fractions of the largest one allowed, 1/m0: small ones for slow changes, large for steep.
FRACTIONS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
_NOTHING = float("-inf")
_LOGARITHMS = ("log_sr", "log_cusum")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Natural logarithms of M_t and C_t for each bet, and where each bet's CUSUM last started.

    `count` values were seen; `starts` are positions among them, from 0.
    """

    log_sr: tuple[float, ...]
    log_cusum: tuple[float, ...]
    starts: tuple[int, ...]
    count: int = 0


def no_evidence(bets: int) -> Evidence:
    """Before the first value: M_0 = 0."""
    return Evidence((_NOTHING,) * bets, (0.0,) * bets, (0,) * bets)


def step(evidence: Evidence, log_increments: Sequence[float]) -> Evidence:
    """After one more value; `log_increments` are log e_t, one for each bet."""
    restarts = [log_cusum <= 0.0 for log_cusum in evidence.log_cusum]
    return Evidence(
        tuple(
            _plus_one(log_m) + log_e
            for log_m, log_e in zip(evidence.log_sr, log_increments, strict=True)
        ),
        tuple(
            max(log_c, 0.0) + log_e
            for log_c, log_e in zip(evidence.log_cusum, log_increments, strict=True)
        ),
        tuple(
            evidence.count if restart else start
            for restart, start in zip(restarts, evidence.starts, strict=True)
        ),
        evidence.count + 1,
    )


def nothing_seen() -> Evidence:
    """Before the first value, with the grid of bets."""
    return no_evidence(len(FRACTIONS))


def stepped(memory: Mapping[str, Any], value: float, bound: float) -> dict[str, Any]:
    """`step` on what is remembered, with a value in [0, 1] against its bound."""
    return remembered(step(recalled(memory), log_increments(value, bound)))


def remembered(evidence: Evidence) -> dict[str, Any]:
    """As JSON. JSON has no infinity (and PostgreSQL refuses it), so the logarithm of zero becomes null."""
    kept = asdict(evidence)
    for name in _LOGARITHMS:
        kept[name] = [None if log == -math.inf else log for log in kept[name]]
    return kept


def recalled(memory: Mapping[str, Any]) -> Evidence:
    """The inverse of `remembered`."""
    log_sr, log_cusum = (
        tuple(-math.inf if log is None else log for log in memory[name]) for name in _LOGARITHMS
    )
    return Evidence(log_sr, log_cusum, tuple(memory["starts"]), memory["count"])


def premise(figure: str, reference: Reference, unit: str) -> str:
    """The assumption behind the run length, as a clause."""
    return (
        f"If the mean of {figure}, given what came before, never exceeds {reference.bound:.3f}"
        f" (an upper {100 * reference.confidence:.4g}% confidence bound from the first"
        f" {reference.count} {unit})"
    )


def log_evidence(evidence: Evidence) -> float:
    """log of the average of M_t over the bets; minus infinity before the first value."""
    return log_mean_exp(evidence.log_sr)


def change_start(evidence: Evidence) -> int:
    """The likeliest position of the change: where the bet with the most CUSUM evidence started."""
    best = max(range(len(evidence.starts)), key=lambda bet: evidence.log_cusum[bet])
    return evidence.starts[best]


def log_increments(value: float, bound: float) -> tuple[float, ...]:
    """log e_t for each bet, for a value in [0, 1] and a bound m0 in (0, 1)."""
    return tuple(log1p(fraction / bound * (value - bound)) for fraction in FRACTIONS)


def hoeffding_upper(mean: float, count: int, confidence: float = 0.95) -> float:
    """Upper confidence bound of the mean of values in [0, 1] (Hoeffding 1963, Theorem 1)."""
    return min(1.0, mean + sqrt(-log(1 - confidence) / (2 * count)))


def widened(
    bound: float, values: Sequence[float], users: Sequence[Hashable] | None, confidence: float
) -> float:
    """An upper bound of the mean of `values`, or that of the bootstrap by user where it is higher: `bound`
    takes each value for another person's, and values of one user are alike."""
    if users is None or len(set(users)) == len(users):
        return bound
    # Both of its ends are left out in equal parts; the bound has only one end.
    by_user = bootstrap_mean(values, users, confidence=2 * confidence - 1)
    return max(bound, by_user[1])


def clopper_pearson_upper(successes: int, count: int, confidence: float = 0.95) -> float:
    """Upper confidence bound of a rate (Clopper and Pearson 1934): the p at which so few successes
    would be seen with probability 1 - confidence. To 1e-9, by bisection: scipy.stats would take 70 MB of the
    process for it."""
    if successes >= count:
        return 1.0
    low, high = successes / count, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if _binomial_tail(successes, count, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _plus_one(log_m: float) -> float:
    """log(M + 1)."""
    return log_m + log1p(exp(-log_m)) if log_m > 0 else log1p(exp(log_m))


def _binomial_tail(successes: int, count: int, rate: float) -> float:
    """P(X <= successes) for X of Binomial(count, rate), 0 < rate < 1."""
    return sum(
        exp(
            lgamma(count + 1)
            - lgamma(k + 1)
            - lgamma(count - k + 1)
            + k * log(rate)
            + (count - k) * log1p(-rate)
        )
        for k in range(successes + 1)
    )
