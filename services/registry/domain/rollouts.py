"""What is served to whom, and when a canary is promoted or rolled back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.registry.domain import groups
from services.registry.domain.groups import GroupTest, Part
from shared.language.estimates import Estimate
from shared.language.groups import Composition, Layer, Reach
from shared.language.interests import ConflictRule, Interests
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
    # Groups that were known when it began and of which evidence is needed.
    expected: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
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
            groups=groups.settled(self.groups),
            parts=(),
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
        """Whom the canary is for."""
        return self.served[1].layers[0].reach if self.served else Reach()

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


def not_counted(rollout: Rollout, seen: Observation) -> str:
    """Why a follow-up says nothing about this rollout; empty if it does."""
    if not rollout.canary or rollout.start_time is None:
        return "NO_ROLLOUT"
    if seen.model_version not in (rollout.champion, rollout.canary):
        return "OTHER_VERSION"
    if seen.time < rollout.start_time:
        return "BEFORE_ROLLOUT"
    if not rollout.is_for(seen.groups):
        return "SPARED"
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
    on_canary, margin = seen.model_version == rollout.canary, rollout.interests.margin

    def tested(
        test: RolloutTest, of_groups: tuple[GroupTest, ...]
    ) -> tuple[RolloutTest, tuple[GroupTest, ...]]:
        return (
            update(test, on_canary=on_canary, value=value, delta=rules.worse_by),
            groups.observed(
                of_groups, seen.groups, on_canary=on_canary, value=value, margin=margin
            ),
        )

    test, tests = tested(rollout.test, rollout.groups)
    parts = tuple(
        Part(one.name, *tested(one.test, one.groups)) if one.name in seen.groups else one
        for one in rollout.parts
    )
    changed = replace(rollout, test=test, groups=tests, parts=parts)
    return replace(changed, words=words(changed, rules))


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


@dataclass(frozen=True, slots=True)
class Decision:
    """`only_for`: the groups that a promotion is for, if not all that the canary is for."""

    promote: bool
    reason: str
    only_for: tuple[str, ...] = ()


def decide(rollout: Rollout, rules: RolloutRules, now: datetime) -> Decision | None:
    """None while the evidence is not enough and there is time left."""
    if not rollout.canary or rollout.start_time is None:
        return None
    if rollout.test.log_e_worse >= worse_at(rollout.interests, rules):
        return _ended(False, "measurably worse than the champion", rollout, rules)
    if reason := groups.hurt(rollout.groups, rollout.interests, rules.alpha):
        return _ended(False, f"{reason}. Of everyone", rollout, rules)
    waits = _in_the_way(rollout, rules)
    if not waits:
        reason = f"measurably better than the champion{_for_whom(rollout)}"
        return _ended(True, reason, rollout, rules)
    is_over = (now - rollout.start_time).total_seconds() > rules.max_s
    if shown := _shown(rollout, rules, is_over=is_over):
        return replace(
            _ended(True, _for_these(rollout, shown), rollout, rules), only_for=tuple(shown)
        )
    if is_over:
        reason = f"no evidence within {rules.max_s:.0f} s {', and '.join(waits)}"
        return _ended(False, reason, rollout, rules)
    return None


def _shown(rollout: Rollout, rules: RolloutRules, *, is_over: bool) -> list[str]:
    """The groups that the canary may be promoted for, though not for all: each is shown by its own users, and
    the others had as many on each arm as a promotion needs, or the time is over."""
    shown = [
        one.name
        for place, one in enumerate(rollout.parts)
        if not _in_the_way(_alone(rollout, one), rules, place + 1)
    ]
    others = [one for one in rollout.parts if one.name not in shown]
    return shown if is_over or all(one.has(rules.min_users) for one in others) else []


def _alone(rollout: Rollout, part: Part) -> Rollout:
    """As if the canary were for this part."""
    served = rollout.served
    if served is not None:
        champion, canary = served
        reach = replace(rollout.reach, groups=(part.name,))
        served = (champion, champion.under(Layer(canary.layers[0].served_name, reach)))
    return replace(rollout, test=part.test, groups=part.groups, parts=(), served=served)


def _for_these(rollout: Rollout, shown: Sequence[str]) -> str:
    others = ", ".join(one.name for one in rollout.parts if one.name not in shown)
    return (
        f"measurably better than the champion for {', '.join(shown)}, and no group is worse; not shown for"
        f" {others}, who keep the answers that they had"
    )


def _ended(promote: bool, reason: str, rollout: Rollout, rules: RolloutRules) -> Decision:
    return Decision(promote, f"{reason}: {_figures(rollout, rules)}")


def _in_the_way(rollout: Rollout, rules: RolloutRules, place: int = 0) -> list[str]:
    """What a promotion still needs, in words. `place`: of the test that the canary is better, among all that
    may promote it: the whole is the first, parts follow."""
    test, waits = rollout.test, []
    if not _is_better(rollout, rules, place):
        waits.append("that it is better than the champion")
    elif min(test.champion.users, test.canary.users) < rules.min_users:
        waits.append(f"of {rules.min_users} users on each side")
    unsure = groups.in_the_way(
        rollout.groups, rollout.interests, rules.alpha, rollout.named, rollout.expected
    )
    if unsure:
        named = ", ".join(unsure)
        waits.append(
            f"that no group is worse by {rollout.interests.margin:g} (not known of {named})"
        )
    return waits


def _is_better(rollout: Rollout, rules: RolloutRules, place: int) -> bool:
    """For everyone; by MAXMIN, for the group that is worst off with the champion, where any is told apart."""
    if rollout.interests.rule is ConflictRule.MAXMIN and groups.told_apart(rollout.groups):
        found = groups.worst_off(rollout.groups)
        if found is None:
            return False
        place, worst = found
        return worst.test.log_e_better >= groups.spent(place, rules.alpha)
    return rollout.test.log_e_better >= better_at(rollout, rules, place)


def better_at(rollout: Rollout, rules: RolloutRules, place: int = 0) -> float:
    """The log threshold of a test that the canary is better. Where parts may promote it, too, the errors of all
    these add up to alpha."""
    return groups.spent(place, rules.alpha) if rollout.parts or place else rules.log_threshold


def worse_at(interests: Interests, rules: RolloutRules) -> float:
    """The log threshold of the test that everyone is worse: where groups may end a rollout, too, it is the
    first of theirs, whether any group is seen or not."""
    is_alone = interests.rule is ConflictRule.MEAN
    return rules.log_threshold if is_alone else groups.spent(0, rules.alpha)


def _for_whom(rollout: Rollout) -> str:
    stops = rollout.interests.rule is not ConflictRule.MEAN
    some = " for those who get it" if rollout.served else ""
    return some + (", and no group is worse" if rollout.groups and stops else "")


def words(rollout: Rollout, rules: RolloutRules) -> str:
    return (
        f"{rollout.canary} is a canary, waiting for evidence {', and '.join(_in_the_way(rollout, rules))}: "
        f"{_figures(rollout, rules)}"
    )


def _figures(rollout: Rollout, rules: RolloutRules) -> str:
    test = rollout.test
    everyone = (
        f"dissatisfied {_share(test.canary)} on the canary, "
        f"{_share(test.champion)} on the champion; "
        f"e-value {math.exp(min(test.log_e_better, 700)):.3g} for better, "
        f"{math.exp(min(test.log_e_worse, 700)):.3g} for worse by more than {rules.worse_by:g}; "
        f"a promotion needs an e-value of {math.exp(better_at(rollout, rules)):.0f} and {rules.min_users} users"
        " on each"
    )
    return "; ".join(
        [everyone, *(f"group {one.name}: {groups.said(one)}" for one in rollout.groups)]
    )


def _share(arm: Arm) -> str:
    return f"{arm.total:.0f} of {arm.users} users"
