"""How a canary answers, whatever its users say of it: whether answers fail, how long people wait, and what the
reward model thinks of them.

Each user counts once on each version, with the first answer. Three tests by betting
(shared/statistics/betting.py) send a canary back as soon as one of them shows that it is worse than is
tolerated. Each is held to alpha / 3, so that a canary which is as good in all of them goes back for one with a
chance of at most alpha, whenever one looks. This is beside the alpha of what users say.

- Errors: champion value - canary value of a pair of users, where 1 is an answer that failed.
- Latency and reward: of a pair of users, one on either version, one may be the worse off, and the test is of
  the net share of pairs in which that is the canary's (Buyse 2010, "Generalized pairwise comparisons of
  prioritized outcomes", Statistics in Medicine 29, with one outcome and a threshold). Seconds differ so much
  from chat to chat that their means tell little, and rewards have no natural scale.
  - Latency: who waited `slow_times` as long as the other, or longer. Only streamed answers have one: how long
    the whole of an answer takes is a matter of its length, and people may want longer ones.
  - Reward: whose answer has the lower reward, by the same reward model. It is everyone's reward, and so says
    nothing where a canary is for some groups alone, or is to help whoever is worst off: it is reported then,
    and ends nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import lt
from typing import Protocol

from shared.language.estimates import Estimate
from shared.language.policies import PolicyKey
from shared.statistics.betting import (
    MOST_WAITING,
    START,
    RolloutTest,
    Wealth,
    bet,
    log_mean_exp,
    update,
)
from shared.statistics.intervals import wilson

ERRORS, LATENCY, REWARD = "errors", "latency", "reward"
_TESTS = 3


class Rewarded(Protocol):
    @property
    def reward(self) -> float | None: ...
    @property
    def reward_model(self) -> str: ...


class Tolerated(Protocol):
    """What of a rollout's rules these tests need."""

    @property
    def alpha(self) -> float: ...
    @property
    def errors_by(self) -> float: ...
    @property
    def slow_times(self) -> float: ...
    @property
    def slow_by(self) -> float: ...
    @property
    def reward_by(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Answered:
    """What a gateway saw of a user's answer while `canary` was out. `wait_s`: seconds until its first words;
    None if it failed or was not streamed."""

    key: PolicyKey
    canary: str
    version: str
    user: str
    failed: bool
    wait_s: float | None
    # Where both versions answered the same: what a reward model thinks of it.
    reward: float | None = None
    reward_model: str = ""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a reward model thinks of a user's answer. `groups`: in which the user was known to be."""

    tenant: str
    user: str
    model_version: str
    reward: float
    reward_model: str
    time: datetime
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PairTest:
    """Of `pairs` of users, how often either arm's was the worse off; and the newest MOST_WAITING values of each
    arm that are not paired yet."""

    champion: tuple[float, ...] = ()
    canary: tuple[float, ...] = ()
    pairs: int = 0
    champion_worse: int = 0
    canary_worse: int = 0
    log_worse: Wealth = START

    @property
    def log_e_worse(self) -> float:
        return log_mean_exp(self.log_worse)

    @property
    def settled(self) -> PairTest:
        """Once nothing is compared any more, or what waits cannot be."""
        return replace(self, champion=(), canary=())


@dataclass(frozen=True, slots=True)
class AnswerTests:
    errors: RolloutTest = field(default_factory=RolloutTest)
    latency: PairTest = field(default_factory=PairTest)
    reward: PairTest = field(default_factory=PairTest)
    # Of the rewards that wait.
    reward_model: str = ""

    @property
    def settled(self) -> AnswerTests:
        """Once nothing is compared any more."""
        errors = self.errors
        return replace(
            self,
            errors=replace(errors, champion=errors.champion.settled, canary=errors.canary.settled),
            latency=self.latency.settled,
            reward=self.reward.settled,
        )


def observed(tests: AnswerTests, seen: Answered, rules: Tolerated) -> AnswerTests:
    """The tests after one more user. Raises ValueError for seconds that are negative or not finite."""
    tests = scored(tests, seen, rules, on_canary=seen.version == seen.canary)
    wait_s = seen.wait_s
    if wait_s is not None and not (math.isfinite(wait_s) and wait_s >= 0.0):
        raise ValueError(f"seconds must be at least 0, got {wait_s}")
    on_canary = seen.version == seen.canary
    errors = update(
        tests.errors, on_canary=on_canary, value=float(seen.failed), delta=rules.errors_by
    )
    if wait_s is None:
        return replace(tests, errors=errors)

    def is_slow(mine: float, other: float) -> bool:
        return mine > 0.0 and mine >= rules.slow_times * other

    latency = _compared(tests.latency, wait_s, is_slow, rules.slow_by, on_canary=on_canary)
    return replace(tests, errors=errors, latency=latency)


def scored(tests: AnswerTests, seen: Rewarded, rules: Tolerated, *, on_canary: bool) -> AnswerTests:
    """The tests after one more user's reward. Rewards by different models are not compared."""
    if seen.reward is None:
        return tests
    waiting = tests.reward if seen.reward_model == tests.reward_model else tests.reward.settled
    reward = _compared(waiting, seen.reward, lt, rules.reward_by, on_canary=on_canary)
    return replace(tests, reward=reward, reward_model=seen.reward_model)


def _compared(
    test: PairTest,
    value: float,
    is_worse: Callable[[float, float], bool],
    tolerated: float,
    *,
    on_canary: bool,
) -> PairTest:
    """`is_worse`: whether the first of two values is worse than the second."""
    if on_canary:
        test = replace(test, canary=(*test.canary, value)[-MOST_WAITING:])
    else:
        test = replace(test, champion=(*test.champion, value)[-MOST_WAITING:])
    if not (test.champion and test.canary):
        return test
    champion, canary = test.champion[0], test.canary[0]
    canary_is, champion_is = is_worse(canary, champion), is_worse(champion, canary)
    gain = float(canary_is) - float(champion_is) - tolerated
    return replace(
        test,
        champion=test.champion[1:],
        canary=test.canary[1:],
        pairs=test.pairs + 1,
        champion_worse=test.champion_worse + champion_is,
        canary_worse=test.canary_worse + canary_is,
        log_worse=bet(test.log_worse, gain, worst=1.0 + tolerated),
    )


def log_threshold(alpha: float) -> float:
    """From where a log e-value sends the canary back."""
    return -math.log(alpha / _TESTS)


def worse(tests: AnswerTests, rules: Tolerated, *, by_reward: bool = True) -> str:
    """Why the canary goes back, in words; empty if it does not. `by_reward`: whether everyone's reward may say
    so."""
    threshold = log_threshold(rules.alpha)
    if tests.errors.log_e_worse >= threshold:
        return f"its answers fail measurably more often: {said_of_errors(tests)}"
    if tests.latency.log_e_worse >= threshold:
        return f"its users wait measurably longer: {said_of_latency(tests, rules)}"
    if by_reward and tests.reward.log_e_worse >= threshold:
        return f"its answers have measurably lower rewards: {said_of_reward(tests)}"
    return ""


def said_of_errors(tests: AnswerTests) -> str:
    canary, champion = tests.errors.canary, tests.errors.champion
    return (
        f"the first answer failed for {canary.total:.0f} of {canary.users} users on the canary, "
        f"{champion.total:.0f} of {champion.users} on the champion; e-value {_e(tests.errors.log_e_worse)}"
    )


def said_of_latency(tests: AnswerTests, rules: Tolerated) -> str:
    test = tests.latency
    return (
        f"of {test.pairs} pairs of users, the one on the canary waited {rules.slow_times:g} times as long in "
        f"{test.canary_worse}, the one on the champion in {test.champion_worse}; "
        f"e-value {_e(test.log_e_worse)}"
    )


def said_of_reward(tests: AnswerTests) -> str:
    test = tests.reward
    return (
        f"of {test.pairs} pairs of users, the canary's has the lower reward in {test.canary_worse}, "
        f"the champion's in {test.champion_worse}; e-value {_e(test.log_e_worse)}"
    )


def failed_share(tests: AnswerTests, *, on_canary: bool) -> Estimate:
    """Of an arm's users, whose first answer failed. (0, 0, 1) without users."""
    arm = tests.errors.canary if on_canary else tests.errors.champion
    return _share("failed_share", int(arm.total), arm.users)


def worse_share(name: str, test: PairTest, *, on_canary: bool) -> Estimate:
    """Of the pairs of users, in which the one on this arm was the worse off. (0, 0, 1) without pairs."""
    return _share(name, test.canary_worse if on_canary else test.champion_worse, test.pairs)


def _share(name: str, part: int, count: int) -> Estimate:
    low, high = wilson(part, count)
    return Estimate(
        name=name,
        value=part / count if count else 0.0,
        low=low,
        high=high,
        count=count,
        users=count,
        suite="rollout",
        method="wilson",
    )


def _e(log_e: float) -> str:
    return f"{math.exp(min(log_e, 700)):.3g}"
