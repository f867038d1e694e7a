"""What the evidence of a rollout decides: when a canary goes on, is promoted or goes back; and its words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from services.registry.domain import answers, groups
from services.registry.domain.answers import Answered, Scored
from services.registry.domain.groups import GroupTest, Part
from services.registry.domain.rollouts import Observation, Rollout, RolloutRules
from services.registry.domain.steps import Evidence, OutOfTime, Step, said_share
from shared.language.groups import Layer
from shared.language.interests import ConflictRule, Interests
from shared.language.verdicts import dissatisfaction_of
from shared.statistics.betting import Arm, RolloutTest, update


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


def answered(rollout: Rollout, seen: Answered, rules: RolloutRules) -> Rollout:
    """The rollout with one more user's answer. The caller makes sure that each user counts once per version."""
    changed = replace(rollout, answers=answers.observed(rollout.answers, seen, rules))
    return replace(changed, words=words(changed, rules))


def scored(rollout: Rollout, seen: Scored, rules: RolloutRules) -> Rollout:
    """Likewise, with one more user's reward."""
    on_canary = seen.model_version == rollout.canary
    return replace(
        rollout, answers=answers.scored(rollout.answers, seen, rules, on_canary=on_canary)
    )


class Kind(StrEnum):
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    # To the next step.
    ADVANCE = "advance"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Decision:
    """`only_for`: the groups that a promotion is for, if not all that the canary is for."""

    kind: Kind
    reason: str
    only_for: tuple[str, ...] = ()


def decide(rollout: Rollout, rules: RolloutRules, now: datetime) -> Decision | None:
    """None while the evidence is not enough and there is time left, or the canary is held already."""
    if not rollout.canary or rollout.start_time is None:
        return None
    if rollout.test.log_e_worse >= worse_at(rollout.interests, rules):
        return _decided(Kind.ROLL_BACK, "measurably worse than the champion", rollout, rules)
    if reason := groups.hurt(rollout.groups, rollout.interests, rules.alpha):
        return _decided(Kind.ROLL_BACK, f"{reason}. Of everyone", rollout, rules)
    if reason := answers.worse(rollout.answers, rules, by_reward=goes_by_reward(rollout)):
        return _decided(Kind.ROLL_BACK, f"{reason}. Of what users say", rollout, rules)
    waits = _in_the_way(rollout, rules)
    if not waits:
        return _gone_on(rollout, rules)
    step = step_of(rollout, rules)
    begun = rollout.step_time or rollout.start_time
    is_over = (now - begun).total_seconds() > step.max_s
    if _is_last(rollout, rules) and (shown := _shown(rollout, rules, is_over=is_over)):
        reason = _for_these(rollout, shown)
        return replace(_decided(Kind.PROMOTE, reason, rollout, rules), only_for=tuple(shown))
    if is_over and not rollout.is_held:
        kind = Kind.HOLD if rules.out_of_time is OutOfTime.HOLD else Kind.ROLL_BACK
        reason = f"no evidence within {step.max_s:.0f} s {', and '.join(waits)}"
        return _decided(kind, reason, rollout, rules)
    return None


def goes_by_reward(rollout: Rollout) -> bool:
    """Whether everyone's reward may end it: not where the canary is for some groups alone, or for the worst
    off."""
    return rollout.served is None and rollout.interests.rule is not ConflictRule.MAXMIN


def _gone_on(rollout: Rollout, rules: RolloutRules) -> Decision:
    if _is_last(rollout, rules):
        reason = f"{_found(rules.promote_when, rules)}{_for_whom(rollout)}"
        return _decided(Kind.PROMOTE, reason, rollout, rules)
    before, after = rules.all_steps[rollout.step : rollout.step + 2]
    found = Evidence.UNLESS_WORSE if before.is_shadow else rules.advance_when
    way = f"from {said_share(before.share)} to {said_share(after.share)} of the users"
    reason = f"{_found(found, rules)}, it goes on {way}"
    return _decided(Kind.ADVANCE, reason, rollout, rules)


def _found(evidence: Evidence, rules: RolloutRules) -> str:
    if evidence is Evidence.UNLESS_WORSE:
        return "not measurably worse than the champion"
    return f"measurably {_shown_by(evidence, rules)}"


def step_of(rollout: Rollout, rules: RolloutRules) -> Step:
    return rules.all_steps[min(rollout.step, len(rules.all_steps) - 1)]


def _is_last(rollout: Rollout, rules: RolloutRules) -> bool:
    return rollout.step >= len(rules.all_steps) - 1


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
    if served is not None and rollout.new_layers:
        reach = replace(rollout.reach, groups=(part.name,))
        theirs = Layer(rollout.new_layers[0].served_name, reach)
        served = (served[0], served[0].under(theirs))
    # How many of its users had spoken when the step began is not known: all of them count.
    return replace(
        rollout, test=part.test, groups=part.groups, parts=(), served=served, step_users=0
    )


def _for_these(rollout: Rollout, shown: Sequence[str]) -> str:
    others = ", ".join(one.name for one in rollout.parts if one.name not in shown)
    return (
        f"measurably better than the champion for {', '.join(shown)}, and no group is worse; not shown for"
        f" {others}, who keep the answers that they had"
    )


def _decided(kind: Kind, reason: str, rollout: Rollout, rules: RolloutRules) -> Decision:
    return Decision(kind, f"{reason}: {_figures(rollout, rules)}")


def _in_the_way(rollout: Rollout, rules: RolloutRules, place: int = 0) -> list[str]:
    """What the next step, or a promotion, still needs, in words. `place`: of the test that the canary is
    better, among all that may promote it: the whole is the first, parts follow."""
    if not _is_last(rollout, rules):
        return _before_next(rollout, rules)
    test, waits = rollout.test, []
    if not _may_be_promoted(rollout, rules, place):
        waits.append(f"that it is {_shown_by(rules.promote_when, rules)}")
    elif min(test.champion.users, rollout.heard) < rules.min_users:
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


def _before_next(rollout: Rollout, rules: RolloutRules) -> list[str]:
    test, step, waits = rollout.test, step_of(rollout, rules), []
    if step.is_shadow:
        said = f"of {step.users} users answered in the shadow ({rollout.heard} so far)"
        return [said] if rollout.heard < step.users else []
    shown = {
        Evidence.UNLESS_WORSE: True,
        Evidence.NOT_WORSE: test.log_e_not_worse >= rules.log_threshold,
        Evidence.BETTER: test.log_e_better >= rules.log_threshold,
    }
    if not shown[rules.advance_when]:
        waits.append(f"that it is {_shown_by(rules.advance_when, rules)}")
    if rollout.heard < step.users:
        waits.append(f"of {step.users} users on the canary ({rollout.heard} since this step began)")
    return waits


def _shown_by(evidence: Evidence, rules: RolloutRules) -> str:
    if evidence is Evidence.BETTER:
        return "better than the champion"
    return f"not worse than the champion by more than {rules.worse_by:g}"


def _may_be_promoted(rollout: Rollout, rules: RolloutRules, place: int) -> bool:
    """For everyone; by MAXMIN, for the group that is worst off with the champion, where any is told apart."""
    if rollout.interests.rule is ConflictRule.MAXMIN and groups.told_apart(rollout.groups):
        found = groups.worst_off(rollout.groups)
        if found is None:
            return False
        place, worst = found
        return worst.test.log_e_better >= groups.spent(place, rules.alpha)
    return log_e_promote(rollout.test, rules) >= better_at(rollout, rules, place)


def log_e_promote(test: RolloutTest, rules: RolloutRules) -> float:
    """The log e-value of what a promotion asks for."""
    return test.log_e_better if rules.promote_when is Evidence.BETTER else test.log_e_not_worse


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
    count = len(rules.all_steps)
    share = (
        "in the shadow"
        if rollout.is_shadow
        else f"at {said_share(rollout.canary_share)} of the users"
    )
    place = f" {share}, step {rollout.step + 1} of {count}"
    held = "held, as it was not there in time, " if rollout.is_held else ""
    waits = ", and ".join(_in_the_way(rollout, rules))
    return (
        f"{rollout.canary} is a canary{place if count > 1 else ''}, {held}waiting for evidence {waits}: "
        f"{_figures(rollout, rules)}"
    )


def _figures(rollout: Rollout, rules: RolloutRules) -> str:
    test = rollout.test
    everyone = (
        f"dissatisfied {_share(test.canary)} on the canary, "
        f"{_share(test.champion)} on the champion; "
        f"e-value {math.exp(min(log_e_promote(test, rules), 700)):.3g} for "
        f"{_shown_by(rules.promote_when, rules).replace(' than the champion', '')}, "
        f"{math.exp(min(test.log_e_worse, 700)):.3g} for worse by more than {rules.worse_by:g}; "
        f"a promotion needs an e-value of {math.exp(better_at(rollout, rules)):.0f} and {rules.min_users} users"
        " on each"
    )
    return "; ".join(
        [everyone, *(f"group {one.name}: {groups.said(one)}" for one in rollout.groups)]
    )


def _share(arm: Arm) -> str:
    return f"{arm.total:.0f} of {arm.users} users"
