"""Versions, what is served to whom, and when a canary is promoted or rolled back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from shared.language.errors import FailedPrecondition
from shared.language.estimates import Estimate
from shared.language.verdicts import dissatisfaction_of
from shared.statistics.betting import Arm, RolloutTest, update
from shared.statistics.intervals import wilson

# The base model: the first champion.
FIRST = "assistant-v0"
# Who decides when no person does.
ACTOR = "registry"
MOST_CHAMPIONS = 50


class State(StrEnum):
    REGISTERED = "registered"
    VERIFIED = "verified"
    CANARY = "canary"
    CHAMPION = "champion"
    RETIRED = "retired"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


ALLOWED: Mapping[State, frozenset[State]] = {
    State.REGISTERED: frozenset({State.VERIFIED, State.REJECTED}),
    State.VERIFIED: frozenset({State.CANARY, State.CHAMPION, State.REJECTED}),
    State.CANARY: frozenset({State.CHAMPION, State.ROLLED_BACK}),
    State.CHAMPION: frozenset({State.RETIRED, State.ROLLED_BACK}),
    State.RETIRED: frozenset({State.CHAMPION}),
    State.ROLLED_BACK: frozenset({State.CANARY, State.CHAMPION}),
    State.REJECTED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Change:
    state: State
    actor: str
    reason: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """Immutable weights under a name of their own. `adapter_path` is empty for the base model."""

    version: str
    number: int
    served_name: str
    state: State
    create_time: datetime
    request_id: str = ""
    control: bool = False
    adapter_path: str = ""
    adapter_digest: str = ""
    snapshot_digest: str = ""
    run: str = ""
    parent: str = ""
    mlflow_version: str = ""
    rollout_request: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()

    def became(self, state: State, actor: str, reason: str, time: datetime) -> Version:
        """Raises FailedPrecondition for a change of state that is not allowed."""
        if state not in ALLOWED[self.state]:
            raise FailedPrecondition(
                f"{self.version} is {self.state.value}; it cannot become {state.value}",
                reason="WRONG_STATE",
            )
        return replace(
            self, state=state, changes=(*self.changes, Change(state, actor, reason, time))
        )


@dataclass(frozen=True, slots=True)
class Rollout:
    """`champions` are the versions that have served, each once, the current one last, at most
    MOST_CHAMPIONS. `revision` rises with every change of what is served to whom."""

    revision: int
    champions: tuple[str, ...]
    update_time: datetime
    canary: str = ""
    canary_share: float = 0.0
    start_time: datetime | None = None
    test: RolloutTest = field(default_factory=RolloutTest)
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
class Promotion:
    """A change of what is served, to be published: `version` became `state`; `former` served before, or
    serves again."""

    version: str
    former: str
    state: str
    reason: str
    actor: str
    rollout: Rollout
    time: datetime


@dataclass(frozen=True, slots=True)
class Registration:
    request_id: str
    adapter_path: str
    snapshot_digest: str = ""
    run: str = ""
    parent: str = ""
    control: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
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
class Observation:
    """What a rollout needs of one judged follow-up. `time` is when the follow-up was said."""

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


def observed(rollout: Rollout, seen: Observation, policy: Policy) -> Rollout:
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
        delta=policy.worse_by,
    )
    return replace(rollout, test=test, words=words(rollout.canary, test, policy))


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


def decide(rollout: Rollout, policy: Policy, now: datetime) -> Decision | None:
    """None while the evidence is not enough and there is time left."""
    if not rollout.canary or rollout.start_time is None:
        return None
    test = rollout.test
    enough = min(test.champion.users, test.canary.users) >= policy.min_users
    if test.log_e_worse >= policy.log_threshold:
        return Decision(False, f"measurably worse than the champion: {_figures(test, policy)}")
    if test.log_e_better >= policy.log_threshold and enough:
        return Decision(True, f"measurably better than the champion: {_figures(test, policy)}")
    if (now - rollout.start_time).total_seconds() > policy.max_s:
        return Decision(
            False, f"not measurably better within {policy.max_s:.0f} s: {_figures(test, policy)}"
        )
    return None


def words(canary: str, test: RolloutTest, policy: Policy) -> str:
    return f"{canary} is a canary, waiting for evidence: {_figures(test, policy)}"


def _figures(test: RolloutTest, policy: Policy) -> str:
    return (
        f"dissatisfied {_share(test.canary)} on the canary, "
        f"{_share(test.champion)} on the champion; "
        f"e-value {math.exp(min(test.log_e_better, 700)):.3g} for better, "
        f"{math.exp(min(test.log_e_worse, 700)):.3g} for worse by more than {policy.worse_by:g}; "
        f"a promotion needs an e-value of {1 / policy.alpha:.0f} and {policy.min_users} users on each"
    )


def _share(arm: Arm) -> str:
    return f"{arm.total:.0f} of {arm.users} users"
