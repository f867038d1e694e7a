"""How a canary answers, whatever its users say of it: whether answers fail, and how long people wait.

Each user counts once on each version, with the first answer. Two tests by betting
(shared/statistics/betting.py) send a canary back as soon as one of them shows that it is worse than is
tolerated. Each is held to alpha / 2, so that a canary which fails no more often and is no slower goes back for
it with a chance of at most alpha, whenever one looks. This is beside the alpha of what users say.

- Errors: champion value - canary value of a pair of users, where 1 is an answer that failed.
- Latency: seconds differ so much from chat to chat that their means tell little. Pairs are compared instead
  (Buyse 2010, "Generalized pairwise comparisons of prioritized outcomes", Statistics in Medicine 29, with one
  outcome and a threshold): the canary is the slow one of a pair if its user waited `slow_times` as long, or
  longer; the champion likewise. The test is of the net share of pairs whose slow one is the canary. Only
  streamed answers have a latency: how long the whole of an answer takes is a matter of its length, and people
  may want longer ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
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

ERRORS, LATENCY = "errors", "latency"
_TESTS = 2


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


@dataclass(frozen=True, slots=True)
class LatencyTest:
    """Of `pairs` of users, how often either arm was the slow one; and the newest MOST_WAITING seconds of each
    arm that are not paired yet."""

    champion: tuple[float, ...] = ()
    canary: tuple[float, ...] = ()
    pairs: int = 0
    champion_slow: int = 0
    canary_slow: int = 0
    log_worse: Wealth = START

    @property
    def log_e_worse(self) -> float:
        return log_mean_exp(self.log_worse)


@dataclass(frozen=True, slots=True)
class AnswerTests:
    errors: RolloutTest = field(default_factory=RolloutTest)
    latency: LatencyTest = field(default_factory=LatencyTest)

    @property
    def settled(self) -> AnswerTests:
        """Once nothing is compared any more."""
        errors = self.errors
        return AnswerTests(
            replace(errors, champion=errors.champion.settled, canary=errors.canary.settled),
            replace(self.latency, champion=(), canary=()),
        )


def observed(tests: AnswerTests, seen: Answered, rules: Tolerated) -> AnswerTests:
    """The tests after one more user. Raises ValueError for seconds that are negative or not finite."""
    wait_s = seen.wait_s
    if wait_s is not None and not (math.isfinite(wait_s) and wait_s >= 0.0):
        raise ValueError(f"seconds must be at least 0, got {wait_s}")
    on_canary = seen.version == seen.canary
    errors = update(
        tests.errors, on_canary=on_canary, value=float(seen.failed), delta=rules.errors_by
    )
    if wait_s is None:
        return replace(tests, errors=errors)
    return AnswerTests(errors, _waited(tests.latency, wait_s, rules, on_canary=on_canary))


def _waited(test: LatencyTest, wait_s: float, rules: Tolerated, *, on_canary: bool) -> LatencyTest:
    if on_canary:
        test = replace(test, canary=(*test.canary, wait_s)[-MOST_WAITING:])
    else:
        test = replace(test, champion=(*test.champion, wait_s)[-MOST_WAITING:])
    if not (test.champion and test.canary):
        return test
    champion, canary = test.champion[0], test.canary[0]
    is_slow = canary > 0.0 and canary >= rules.slow_times * champion
    is_slower = champion > 0.0 and champion >= rules.slow_times * canary
    gain = float(is_slow) - float(is_slower) - rules.slow_by
    return replace(
        test,
        champion=test.champion[1:],
        canary=test.canary[1:],
        pairs=test.pairs + 1,
        champion_slow=test.champion_slow + is_slower,
        canary_slow=test.canary_slow + is_slow,
        log_worse=bet(test.log_worse, gain, worst=1.0 + rules.slow_by),
    )


def log_threshold(alpha: float) -> float:
    """From where a log e-value sends the canary back."""
    return -math.log(alpha / _TESTS)


def worse(tests: AnswerTests, rules: Tolerated) -> str:
    """Why the canary goes back, in words; empty if it does not."""
    threshold = log_threshold(rules.alpha)
    if tests.errors.log_e_worse >= threshold:
        return f"its answers fail measurably more often: {said_of_errors(tests)}"
    if tests.latency.log_e_worse >= threshold:
        return f"its users wait measurably longer: {said_of_latency(tests, rules)}"
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
        f"{test.canary_slow}, the one on the champion in {test.champion_slow}; "
        f"e-value {_e(test.log_e_worse)}"
    )


def failed_share(tests: AnswerTests, *, on_canary: bool) -> Estimate:
    """Of an arm's users, whose first answer failed. (0, 0, 1) without users."""
    arm = tests.errors.canary if on_canary else tests.errors.champion
    return _share("failed_share", int(arm.total), arm.users)


def slow_share(tests: AnswerTests, *, on_canary: bool) -> Estimate:
    """Of the pairs of users, in which the one on this arm was the slow one. (0, 0, 1) without pairs."""
    test = tests.latency
    return _share("slow_share", test.canary_slow if on_canary else test.champion_slow, test.pairs)


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
