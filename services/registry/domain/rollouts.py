"""What is served to whom, and when a canary is promoted or rolled back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import datetime

from shared.language.estimates import Estimate
from shared.language.policies import PolicyKey
from shared.language.verdicts import dissatisfaction_of
from shared.statistics.betting import Arm, RolloutTest, update
from shared.statistics.intervals import wilson

MOST_CHAMPIONS = 50


@dataclass(frozen=True, slots=True)
class RolloutRules:
    """The rules, set before any canary: when one is better, worse, or out of time."""

    alpha: float = 0.05
    worse_by: float = 0.05
    min_users: int = 15
    max_s: float = 900.0
    canary_share: float = 0.5

    @property
    def log_threshold(self) -> float:
        return -math.log(self.alpha)


@dataclass(frozen=True, slots=True)
class Rollout:
    """Of one policy. `champions` are the versions that have served, each once, the current one last, at most
    MOST_CHAMPIONS. `revision` rises with every change of what is served to whom."""

    key: PolicyKey
    revision: int
    champions: tuple[str, ...]
    update_time: datetime
    canary: str = ""
    canary_share: float = 0.0
    start_time: datetime | None = None
    test: RolloutTest = field(default_factory=RolloutTest)
    # Those that applied when it began; None before the first one.
    rules: RolloutRules | None = None
    rollback_request: str = ""
    words: str = "no rollout is under way"

    @property
    def champion(self) -> str:
        return self.champions[-1]

    def followed_by(self, version: str) -> tuple[str, ...]:
        """The champions once `version` is the one that serves."""
        others = tuple(name for name in self.champions if name != version)
        return (*others, version)[-MOST_CHAMPIONS:]

    def over(self, champions: tuple[str, ...], now: datetime) -> Rollout:
        """The rollout without its canary. The figures stay: they say why it ended."""
        test = replace(
            self.test, champion=self.test.champion.settled, canary=self.test.canary.settled
        )
        return replace(
            self,
            revision=self.revision + 1,
            champions=champions,
            update_time=now,
            canary="",
            canary_share=0.0,
            test=test,
        )

    @property
    def on_canary(self) -> Estimate:
        return dissatisfaction(self.test.canary)

    @property
    def on_champion(self) -> Estimate:
        return dissatisfaction(self.test.champion)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a rollout needs of one judged follow-up. `time` is when the follow-up was said."""

    tenant: str
    user: str
    model_version: str
    source: str
    kind: str
    abstained: bool
    time: datetime


def not_counted(rollout: Rollout, seen: Observation) -> str:
    """Why a follow-up says nothing about this rollout; empty if it does."""
    if not rollout.canary or rollout.start_time is None:
        return "NO_ROLLOUT"
    if seen.model_version not in (rollout.champion, rollout.canary):
        return "OTHER_VERSION"
    if seen.time < rollout.start_time:
        return "BEFORE_ROLLOUT"
    if seen.source != "follow_up":
        return seen.source.upper()
    if seen.abstained or dissatisfaction_of(seen.kind) is None:
        return "NOT_JUDGED"
    return ""


def observed(rollout: Rollout, seen: Observation, rules: RolloutRules) -> Rollout:
    """The rollout with one more user's value. The caller makes sure that each user counts once per
    version.
    """
    value = dissatisfaction_of(seen.kind)
    if value is None:
        raise ValueError(f"{seen.kind} says nothing about the answer")
    test = update(
        rollout.test,
        on_canary=seen.model_version == rollout.canary,
        value=value,
        delta=rules.worse_by,
    )
    return replace(rollout, test=test, words=words(rollout.canary, test, rules))


def dissatisfaction(arm: Arm) -> Estimate:
    """The share of an arm's users who were dissatisfied; each counts once. (0, 0, 1) without users."""
    low, high = wilson(arm.total, arm.users)
    return Estimate(
        name="dissatisfaction",
        value=arm.total / arm.users if arm.users else 0.0,
        low=low,
        high=high,
        count=arm.users,
        users=arm.users,
        suite="rollout",
        method="wilson",
    )


@dataclass(frozen=True, slots=True)
class Decision:
    promote: bool
    reason: str


def decide(rollout: Rollout, rules: RolloutRules, now: datetime) -> Decision | None:
    """None while the evidence is not enough and there is time left."""
    if not rollout.canary or rollout.start_time is None:
        return None
    test = rollout.test
    enough = min(test.champion.users, test.canary.users) >= rules.min_users
    if test.log_e_worse >= rules.log_threshold:
        return Decision(False, f"measurably worse than the champion: {_figures(test, rules)}")
    if test.log_e_better >= rules.log_threshold and enough:
        return Decision(True, f"measurably better than the champion: {_figures(test, rules)}")
    if (now - rollout.start_time).total_seconds() > rules.max_s:
        return Decision(
            False, f"not measurably better within {rules.max_s:.0f} s: {_figures(test, rules)}"
        )
    return None


def words(canary: str, test: RolloutTest, rules: RolloutRules) -> str:
    return f"{canary} is a canary, waiting for evidence: {_figures(test, rules)}"


def _figures(test: RolloutTest, rules: RolloutRules) -> str:
    return (
        f"dissatisfied {_share(test.canary)} on the canary, "
        f"{_share(test.champion)} on the champion; "
        f"e-value {math.exp(min(test.log_e_better, 700)):.3g} for better, "
        f"{math.exp(min(test.log_e_worse, 700)):.3g} for worse by more than {rules.worse_by:g}; "
        f"a promotion needs an e-value of {1 / rules.alpha:.0f} and {rules.min_users} users on each"
    )


def _share(arm: Arm) -> str:
    return f"{arm.total:.0f} of {arm.users} users"
