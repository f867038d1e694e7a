"""Champion against canary: a test that may be looked at after every user and stopped at any time.

Users arrive one by one on either arm; each brings one value in [0, 1] (1: dissatisfied). The i-th
user of the champion is paired with the i-th user of the canary, x_i = champion value - canary
value.

- "better":  null hypothesis E[x] <= 0       (the canary is no better); bets  1 + lam * x
- "worse":   null hypothesis E[-x] <= delta  (the canary is worse by delta at most);
             bets  1 + lam * (-x - delta)

Each product of bets with lam in [0, 1/bound) is a non-negative supermartingale under its null
hypothesis (Waudby-Smith and Ramdas 2020, "Estimating means of bounded random variables by betting",
arXiv 2010.09686), and so is their average over a grid of lam. By Ville's inequality
P(the average ever reaches 1/alpha) <= alpha, whenever one looks.

Holds when, given what was seen before, the next pair's expectation obeys the null: one value a
user, users sent by a sticky hash. Departure from a plain paired test: the users of a pair may
have come minutes apart; a change that hits both arms in that time is noise here, not bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

# Shares of the largest bet that is safe. Several, because the size of the effect is not known
# before.
GRID = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, slots=True)
class Arm:
    """Users who brought a value, the sum of their values, and values not paired yet."""

    users: int = 0
    total: float = 0.0
    waiting: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RolloutTest:
    """State of both tests; `log_better` and `log_worse` hold a log wealth for each of GRID."""

    champion: Arm = Arm()
    canary: Arm = Arm()
    pairs: int = 0
    log_better: tuple[float, ...] = (0.0,) * len(GRID)
    log_worse: tuple[float, ...] = (0.0,) * len(GRID)

    @property
    def log_e_better(self) -> float:
        return _log_mean_exp(self.log_better)

    @property
    def log_e_worse(self) -> float:
        return _log_mean_exp(self.log_worse)


def update(test: RolloutTest, *, on_canary: bool, value: float, delta: float) -> RolloutTest:
    """The test after one more user. `value` in [0, 1]; `delta` in [0, 1) is the harm that is
    tolerated.
    """
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a value must be in [0, 1], got {value}")
    if on_canary:
        test = replace(test, canary=_take(test.canary, value))
    else:
        test = replace(test, champion=_take(test.champion, value))
    if not (test.champion.waiting and test.canary.waiting):
        return test
    return _bet(test, test.champion.waiting[0] - test.canary.waiting[0], delta)


def _take(arm: Arm, value: float) -> Arm:
    return Arm(arm.users + 1, arm.total + value, (*arm.waiting, value))


def _bet(test: RolloutTest, x: float, delta: float) -> RolloutTest:
    better = [w + math.log1p(share * x) for w, share in zip(test.log_better, GRID, strict=True)]
    worse = [
        w + math.log1p(share / (1.0 + delta) * (-x - delta))
        for w, share in zip(test.log_worse, GRID, strict=True)
    ]
    return replace(
        test,
        champion=replace(test.champion, waiting=test.champion.waiting[1:]),
        canary=replace(test.canary, waiting=test.canary.waiting[1:]),
        pairs=test.pairs + 1,
        log_better=tuple(better),
        log_worse=tuple(worse),
    )


def _log_mean_exp(logs: tuple[float, ...]) -> float:
    most = max(logs)
    return most + math.log(sum(math.exp(value - most) for value in logs) / len(logs))
