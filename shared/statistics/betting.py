"""Tests by betting: their result may be read after every value, and they may be stopped at any time.

Let `gain` be at least -worst, with an expectation of at most 0 under the null hypothesis given the
past. Betting a share of the largest safe stake on it multiplies the wealth by
1 + share * gain / worst. That wealth is a non-negative supermartingale under the null
(Waudby-Smith and Ramdas 2020, "Estimating means of bounded random variables by betting",
arXiv 2010.09686), and so is the average over a grid of shares. By Ville's inequality
P(the average ever reaches 1/alpha) <= alpha, however often one looks.

- One sample, `bet(wealth, value - bound, worst=bound)`: is the mean of values in [0, 1] above
  `bound`?
- Two arms, `RolloutTest`: champion against canary. Users arrive one by one on either arm; each
  brings one value in [0, 1] (1: dissatisfied). The i-th user of the champion is paired with the
  i-th of the canary, x_i = champion value - canary value.

  - "better":  null hypothesis E[x] <= 0       (the canary is no better)
  - "worse":   null hypothesis E[-x] <= delta  (the canary is worse by delta at most)
  - "not worse": null hypothesis E[-x] >= delta  (the canary is worse by delta at least)

This holds when, given the past, the next value's expectation obeys the null: one value per user,
users assigned by a sticky hash. Departure from a plain paired test: the users of a pair may have
come minutes apart; a change that hits both arms in that time is noise here, not bias. Where one arm
has many more users than the other, some of its values are left out, the oldest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, inf, log, log1p

# Shares of the largest safe bet. Several, because the size of the effect is not known beforehand.
GRID = (0.1, 0.25, 0.5, 0.75, 0.9)

# How many values of the fuller arm wait for a partner. Beyond that the oldest are dropped, whatever they are:
# which values are compared must not depend on what they are.
MOST_WAITING = 256

Wealth = tuple[float, ...]  # the natural logarithm of the wealth of each share of GRID
START: Wealth = (0.0,) * len(GRID)


def bet(wealth: Wealth, gain: float, worst: float) -> Wealth:
    """The wealth after one more value. Raises ValueError unless gain >= -worst and worst > 0."""
    if worst <= 0.0 or gain < -worst:
        raise ValueError(f"a gain must be at least -{worst} < 0, got {gain}")
    return tuple(one + log1p(share / worst * gain) for one, share in zip(wealth, GRID, strict=True))


def log_mean_exp(logs: Sequence[float]) -> float:
    """log(mean(exp(logs))), computed stably; -inf if all of `logs` are."""
    top = max(logs)
    if top == -inf:
        return -inf
    return top + log(sum(exp(one - top) for one in logs) / len(logs))


@dataclass(frozen=True, slots=True)
class Arm:
    """How many users brought a value, the sum of their values, and the newest MOST_WAITING values that are
    not paired yet."""

    users: int = 0
    total: float = 0.0
    waiting: tuple[float, ...] = ()

    @property
    def settled(self) -> Arm:
        """The arm without its waiting values, once nothing is compared any more."""
        return replace(self, waiting=())


@dataclass(frozen=True, slots=True)
class RolloutTest:
    """The state of the tests; each log e-value is to be compared with log(1/alpha)."""

    champion: Arm = Arm()
    canary: Arm = Arm()
    pairs: int = 0
    log_better: Wealth = START
    log_worse: Wealth = START
    log_not_worse: Wealth = START

    @property
    def log_e_better(self) -> float:
        return log_mean_exp(self.log_better)

    @property
    def log_e_worse(self) -> float:
        return log_mean_exp(self.log_worse)

    @property
    def log_e_not_worse(self) -> float:
        return log_mean_exp(self.log_not_worse)


def update(test: RolloutTest, *, on_canary: bool, value: float, delta: float) -> RolloutTest:
    """The test after one more user. `delta` in [0, 1) is the harm that is tolerated. Raises ValueError
    unless `value` is in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a value must be in [0, 1], got {value}")
    if on_canary:
        test = replace(test, canary=_take(test.canary, value))
    else:
        test = replace(test, champion=_take(test.champion, value))
    if not (test.champion.waiting and test.canary.waiting):
        return test
    return _paired(test, test.champion.waiting[0] - test.canary.waiting[0], delta)


def _take(arm: Arm, value: float) -> Arm:
    return Arm(arm.users + 1, arm.total + value, (*arm.waiting, value)[-MOST_WAITING:])


def _paired(test: RolloutTest, x: float, delta: float) -> RolloutTest:
    return replace(
        test,
        champion=replace(test.champion, waiting=test.champion.waiting[1:]),
        canary=replace(test.canary, waiting=test.canary.waiting[1:]),
        pairs=test.pairs + 1,
        log_better=bet(test.log_better, x, worst=1.0),
        log_worse=bet(test.log_worse, -x - delta, worst=1.0 + delta),
        log_not_worse=bet(test.log_not_worse, x + delta, worst=1.0 - delta),
    )
