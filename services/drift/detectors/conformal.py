"""An inductive conformal test martingale, run as a Shiryaev-Roberts procedure
(Vovk, Gammerman and Shafer 2005, ch. 7; Vovk 2021, "Testing randomness online").

A reference of vectors is frozen. Each later vector gets a nonconformity score against it, and the
randomised rank of that score among all later ones so far,

    p_t = (#{i <= t: s_i > s_t} + U_t #{i <= t: s_i = s_t}) / t .

While the later vectors are exchangeable the p_t are independent and uniform. Bets on small p, the
power family f_eps(p) = eps p^(eps - 1), are nonnegative and integrate to 1, so
M_t = (M_{t-1} + 1) f_eps(p_t), averaged over eps, reaches 1/alpha no sooner than after 1/alpha
values in the mean. A simple jumper over log-linear bets is there to test the p-values both ways.

Departures: scores are rounded to 1/RESOLUTION, so that all of them are kept as one small histogram
(ties are broken by U_t, hence the guarantee is untouched); U_t comes from the caller, seeded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

RESOLUTION = 256
POWERS = (0.2, 0.4, 0.6, 0.8)
NEIGHBOURS = 5
# Bets and jump rate of the simple jumper (Vovk et al. 2021, "Retrain or not retrain", Algorithm 1).
JUMPER_BETS = (-1.0, 0.0, 1.0)
JUMP_RATE = 0.01


def nonconformity(
    vector: NDArray[np.float32], reference: NDArray[np.float32], neighbours: int = NEIGHBOURS
) -> int:
    """1 - mean cosine to the `neighbours` nearest of the reference, in whole 1/RESOLUTION.

    Both hold unit vectors: (d,) and (n, d).
    """
    cosines = reference @ vector
    nearest = np.sort(cosines)[-neighbours:]
    return round((1.0 - float(nearest.mean())) * RESOLUTION)


def p_value(score: int, earlier: Mapping[int, int], uniform: float) -> float:
    """The randomised rank of `score`; `earlier` counts the scores before it. In (0, 1]."""
    above = sum(count for one, count in earlier.items() if one > score)
    equal = earlier.get(score, 0) + 1
    count = sum(earlier.values()) + 1
    return max((above + uniform * equal) / count, 1e-12)


def log_power_bets(p: float) -> tuple[float, ...]:
    """log f_eps(p) for each eps of POWERS."""
    return tuple(log(power) + (power - 1) * log(p) for power in POWERS)


@dataclass(frozen=True, slots=True)
class Jumper:
    """Shares of the capital on each bet of JUMPER_BETS, and the logarithm of the whole."""

    shares: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
    log_capital: float = 0.0


def jump(state: Jumper, p: float) -> Jumper:
    """One step of the simple jumper: a test martingale against exchangeability."""
    moved = [(1 - JUMP_RATE) * share + JUMP_RATE / len(JUMPER_BETS) for share in state.shares]
    grown = [share * (1 + bet * (p - 0.5)) for share, bet in zip(moved, JUMPER_BETS, strict=True)]
    total = sum(grown)
    return Jumper(tuple(one / total for one in grown), state.log_capital + log(total))
