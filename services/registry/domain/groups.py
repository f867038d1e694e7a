"""A rollout, group by group: what is known of each, and what the policy's rule makes of it.

Each group has tests of its own, by the same bets as everyone's (shared/statistics/betting.py). The errors
together stay within alpha, whenever one looks and however many groups appear:

- "a group is worse by more than the margin" ends a rollout. Everyone is the first test of this family, groups
  follow in the order in which they were first seen; the k-th is held to alpha / (k (k + 1)), and these add up
  to alpha.
- "no group is worse by the margin" is asked for before a promotion. It needs alpha for each alone: a version
  that is that much worse for one group is promoted only if that group's own test errs (Berger 1982,
  intersection-union).
- MAXMIN looks at the figures to see which group is worst off: the gain of the k-th is held to
  alpha / (k (k + 1)).

A user counts in the groups in which they were known to be when their one value was brought, so that a group is
never made of those who complained of the canary. "unknown" is a group like any other. Users of no known group
whose last judged follow-up before was content are a group, too ("content before"): where nobody is told
apart, the few whom a version for the many would hurt are among these.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from shared.language.groups import (
    CONTENT_BEFORE,
    EVERYONE_ELSE,
    UNKNOWN,
    has_room,
    is_segment,
    is_wish,
)
from shared.language.interests import ConflictRule, Interests, SmallGroups
from shared.statistics.betting import Arm, RolloutTest, update
from shared.statistics.spending import parts

NOT_WORSE, WORSE, UNTOLD = "not_worse", "worse", "untold"


@dataclass(frozen=True, slots=True)
class GroupTest:
    """Of one group; `test` has the margin of the rollout's interests as its delta."""

    name: str
    test: RolloutTest = field(default_factory=RolloutTest)

    @property
    def users(self) -> int:
        return self.test.champion.users + self.test.canary.users

    def verdict(self, place: int, alpha: float) -> str:
        """`place`: the group's among those first seen, from 0."""
        if self.test.log_e_worse >= spent(place + 1, alpha):
            return WORSE
        return NOT_WORSE if self.test.log_e_not_worse >= -math.log(alpha) else UNTOLD


@dataclass(frozen=True, slots=True)
class Part:
    """Of a canary that is for several groups by name: the users of the group `name`, as if it were for them
    alone; `groups`: of these users."""

    name: str
    test: RolloutTest = field(default_factory=RolloutTest)
    groups: tuple[GroupTest, ...] = ()

    def has(self, users: int) -> bool:
        """On each arm."""
        return min(self.test.champion.users, self.test.canary.users) >= users


def spent(place: int, alpha: float) -> float:
    """The log threshold of the test at `place` (from 0) of a family whose errors add up to alpha."""
    return -math.log(alpha / parts(place))


def expected(groups: Iterable[str]) -> tuple[GroupTest, ...]:
    """Tests of groups that are known to exist before any of their users is seen."""
    return _with((), groups)


def observed(
    tests: tuple[GroupTest, ...],
    groups: Sequence[str],
    *,
    on_canary: bool,
    value: float,
    margin: float,
) -> tuple[GroupTest, ...]:
    """The tests after one more user, who is in `groups`."""
    tests = _with(tests, groups)
    return tuple(
        replace(one, test=update(one.test, on_canary=on_canary, value=value, delta=margin))
        if one.name in groups
        else one
        for one in tests
    )


def _with(tests: tuple[GroupTest, ...], groups: Iterable[str]) -> tuple[GroupTest, ...]:
    """With a test of each group that has none yet, as far as there is room."""
    told = {one.name: one for one in tests}
    for name in groups:
        if name not in told and has_room(name, told):
            told[name] = GroupTest(name)
    return tuple(told.values())


def settled(tests: tuple[GroupTest, ...]) -> tuple[GroupTest, ...]:
    """Once nothing is compared any more."""
    return tuple(
        replace(
            one,
            test=replace(
                one.test, champion=one.test.champion.settled, canary=one.test.canary.settled
            ),
        )
        for one in tests
    )


def hurt(tests: Sequence[GroupTest], interests: Interests, alpha: float) -> str:
    """Which group ends the rollout because it is worse off, in words; empty if none does."""
    if interests.rule is ConflictRule.MEAN:
        return ""
    for place, one in enumerate(tests):
        if one.verdict(place, alpha) == WORSE:
            return (
                f"group {one.name} is worse by more than {interests.margin:g}: {said(one)}; "
                f"e-value {_e(one.test.log_e_worse)}"
            )
    return ""


def in_the_way(
    tests: Sequence[GroupTest],
    interests: Interests,
    alpha: float,
    served: Collection[str] = (),
    expected: Collection[str] = (),
) -> list[str]:
    """Groups for which it is not shown that they are not worse by the margin. Those with too few users to tell
    are not among them where the policy says that it goes on without. Nor are two kinds, whose users are in
    other groups, too: those by wishes that are not `served` by name, which nobody declared and of which there
    are many; and learnt ones that came to be after it was known which groups are `expected`, UNKNOWN with the
    first of them."""
    if interests.rule is ConflictRule.MEAN:
        return []
    lets_small = interests.small_groups is SmallGroups.GO_ON
    were_divided = any(map(_is_learnt, expected))

    def may_be_small(name: str) -> bool:
        if is_wish(name):
            return lets_small or name not in served
        is_new = name not in expected if _is_learnt(name) else name == UNKNOWN and not were_divided
        return lets_small or (is_new and bool(expected))

    return [
        one.name
        for place, one in enumerate(tests)
        if one.verdict(place, alpha) != NOT_WORSE
        and not (may_be_small(one.name) and is_small(one, interests.margin, alpha))
    ]


def _is_learnt(name: str) -> bool:
    return not is_segment(name) and name not in (UNKNOWN, CONTENT_BEFORE, EVERYONE_ELSE)


def is_small(one: GroupTest, margin: float, alpha: float) -> bool:
    """Whether a group has too few users on an arm for the test to tell that nothing changed for them: with n
    pairs of equal values the e-value is at most (1 + margin / (1 - margin)) ** n."""
    needed = -math.log(alpha) / math.log1p(margin / (1.0 - margin))
    return min(one.test.champion.users, one.test.canary.users) < needed


def told_apart(tests: Sequence[GroupTest]) -> list[tuple[int, GroupTest]]:
    """Groups by what they want, with their places: those who were content are protected, and nothing is owed to
    them for it."""
    return [(place, one) for place, one in enumerate(tests) if one.name != CONTENT_BEFORE]


def worst_off(tests: Sequence[GroupTest]) -> tuple[int, GroupTest] | None:
    """The group, with its place, of whose users the largest share is dissatisfied with the champion; None if no
    group has users on both arms."""
    told = [
        (place, one)
        for place, one in told_apart(tests)
        if one.test.champion.users and one.test.canary.users
    ]
    return max(told, key=lambda found: _rate(found[1].test.champion), default=None)


def said(one: GroupTest) -> str:
    test = one.test
    return (
        f"dissatisfied {test.canary.total:.0f} of {test.canary.users} users on the canary, "
        f"{test.champion.total:.0f} of {test.champion.users} on the champion"
    )


def _rate(arm: Arm) -> float:
    return arm.total / arm.users


def _e(log_e: float) -> str:
    return f"{math.exp(min(log_e, 700)):.3g}"
