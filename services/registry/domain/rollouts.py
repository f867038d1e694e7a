"""What is served to whom, and when a canary is promoted or rolled back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from services.registry.domain import groups
from services.registry.domain.answers import AnswerTests
from services.registry.domain.groups import GroupTest, Part
from services.registry.domain.steps import Evidence, OutOfTime, Step, parse
from shared.language.estimates import Estimate
from shared.language.groups import Composition, Layer, Reach
from shared.language.interests import ConflictRule, Interests
from shared.language.policies import PolicyKey
from shared.language.verdicts import dissatisfaction_of
from shared.statistics.betting import Arm, RolloutTest
from shared.statistics.intervals import wilson

MOST_CHAMPIONS = 50


@dataclass(frozen=True, slots=True)
class RolloutRules:
    """The rules, set before any canary: by which steps it gets more users, and when it is better, worse, or out
    of time. `steps` as in steps.py; those whose share is not below `canary_share` are passed over. The last
    four are of how it answers (answers.py)."""

    alpha: float = 0.05
    worse_by: float = 0.05
    min_users: int = 15
    max_s: float = 900.0
    canary_share: float = 0.5
    steps: str = ""
    advance_when: Evidence = Evidence.UNLESS_WORSE
    promote_when: Evidence = Evidence.BETTER
    out_of_time: OutOfTime = OutOfTime.ROLL_BACK
    errors_by: float = 0.02
    slow_times: float = 2.0
    slow_by: float = 0.1
    reward_by: float = 0.2

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """The last one ends with a promotion."""
        before = (step for step in parse(self.steps) if step.share < self.canary_share)
        return (*before, Step(self.canary_share, self.min_users, self.max_s))

    @property
    def log_threshold(self) -> float:
        return -math.log(self.alpha)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A replica that serves something else than was trained under a served name; nobody is to be answered by
    it under that name. `words`: what it serves instead."""

    replica: str
    served_name: str
    words: str


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
    # The place of its step, from 0; when that began (None: with the rollout), and the canary's users then.
    step: int = 0
    step_time: datetime | None = None
    step_users: int = 0
    # It did not show in time what its step asks for, and keeps its share until it does.
    is_held: bool = False
    test: RolloutTest = field(default_factory=RolloutTest)
    # Those that applied when it began; None before the first one.
    rules: RolloutRules | None = None
    interests: Interests = field(default_factory=Interests)
    # In the order in which they were first seen.
    groups: tuple[GroupTest, ...] = ()
    # What answers whom with the champion and with the canary, if the canary is for some groups only.
    served: tuple[Composition, Composition] | None = None
    # One for each of the groups that it is for, if these are several.
    parts: tuple[Part, ...] = ()
    answers: AnswerTests = field(default_factory=AnswerTests)
    # Groups that were known when it began and of which evidence is needed.
    expected: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    # The first trained version that became champion and was not rolled back, also once `champions` has no room
    # for it; empty: none yet.
    first: str = ""
    rollback_request: str = ""
    words: str = "no rollout is under way"

    @property
    def champion(self) -> str:
        return self.champions[-1]

    def followed_by(self, version: str) -> tuple[str, ...]:
        """The champions once `version` is the one that serves."""
        others = tuple(name for name in self.champions if name != version)
        return (*others, version)[-MOST_CHAMPIONS:]

    def _first(self, champions: tuple[str, ...]) -> str:
        """Who is the first of them, by the meaning of `first`, once these are the champions."""
        is_shorter = len(champions) < len(self.champions)  # something was rolled back
        is_gone = is_shorter and self.first in set(self.champions) - set(champions)
        if self.first and not is_gone:
            return self.first
        return next((name for name in champions if name != self.key.first_version), "")

    def revised(self) -> Rollout:
        """Served as before; which versions may be asked for by name has changed."""
        return replace(self, revision=self.revision + 1)

    def over(self, champions: tuple[str, ...], now: datetime) -> Rollout:
        """The rollout without its canary. The figures stay: they say why it ended."""
        test = replace(
            self.test, champion=self.test.champion.settled, canary=self.test.canary.settled
        )
        return replace(
            self,
            revision=self.revision + 1,
            champions=champions,
            first=self._first(champions),
            update_time=now,
            canary="",
            canary_share=0.0,
            test=test,
            groups=groups.settled(self.groups),
            parts=(),
            answers=self.answers.settled,
            is_held=False,
        )

    def advanced(self, share: float, now: datetime) -> Rollout:
        """At its next step, with more users."""
        return replace(
            self,
            revision=self.revision + 1,
            update_time=now,
            canary_share=share,
            step=self.step + 1,
            step_time=now,
            step_users=self.test.canary.users,
            is_held=False,
        )

    def only_for(self, champion: Composition, canary: Composition) -> Rollout:
        """The rollout of a canary that is for some groups. Each of several has tests of its own users, unless
        the rule looks at all groups together."""
        changed = replace(self, served=(champion, canary))
        is_each = self.interests.rule is ConflictRule.NO_GROUP_WORSE and len(changed.named) > 1
        parts = tuple(Part(name, groups=groups.expected([name])) for name in changed.named)
        return replace(changed, parts=parts if is_each else ())

    def is_for(self, groups: Sequence[str]) -> bool:
        """Whether a user of these groups gets other weights from the canary than from the champion. Whoever
        does not can tell nothing of it, on either arm."""
        if self.served is None:
            return True
        champion, canary = self.served
        return champion.answering(groups) != canary.answering(groups)

    @property
    def named(self) -> list[str]:
        """The groups that the canary gives other weights than the champion does; none if it is for everyone."""
        return [group for group in self.reach.groups if self.is_for((group,))]

    @property
    def reach(self) -> Reach:
        """Whom the canary is for, as far as its layers are not the champion's, too. There are several only of
        rollouts that began before there were layers, when each group had one."""
        new = self.new_layers
        names = tuple(group for one in new for group in one.reach.groups)
        return replace(new[0].reach, groups=names) if new else Reach()

    @property
    def new_layers(self) -> list[Layer]:
        champion, canary = self.served or (Composition(""), Composition(""))
        return [one for one in canary.layers if one not in champion.layers]

    @property
    def is_shadow(self) -> bool:
        """Whether the canary answers in the shadow of the champion, seen by nobody."""
        return bool(self.canary) and self.canary_share == 0.0

    @property
    def heard(self) -> int:
        """Users of the canary since its step began; in the shadow, those whom both versions have answered."""
        if self.is_shadow:
            return self.answers.errors.canary.users
        return self.test.canary.users - self.step_users

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
    # In which the user was known to be then.
    groups: tuple[str, ...] = ()


class Seen(Protocol):
    """What somebody met of a version."""

    @property
    def model_version(self) -> str: ...
    @property
    def time(self) -> datetime: ...
    @property
    def groups(self) -> tuple[str, ...]: ...


def outside(rollout: Rollout, seen: Seen) -> str:
    """Why it says nothing about this rollout; empty if it may."""
    if not rollout.canary or rollout.start_time is None:
        return "NO_ROLLOUT"
    if seen.model_version not in (rollout.champion, rollout.canary):
        return "OTHER_VERSION"
    if seen.time < rollout.start_time:
        return "BEFORE_ROLLOUT"
    if not rollout.is_for(seen.groups):
        return "SPARED"
    return ""


def not_counted(rollout: Rollout, seen: Observation) -> str:
    """Why a follow-up says nothing about this rollout; empty if it does."""
    if reason := outside(rollout, seen):
        return reason
    if seen.source != "follow_up":
        return seen.source.upper()
    if seen.abstained or dissatisfaction_of(seen.kind) is None:
        return "NOT_JUDGED"
    return ""


def dissatisfaction(arm: Arm, group: str = "") -> Estimate:
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
        group=group,
    )
