"""Whom a run helped and whom it hurt: the gate's lines for groups of people, and a line of words for each.

A group's figure is the win rate against the champion under the group's own reward. Those who asked for what can
be counted have a second one: how often an answer does more of it than the champion's (wish rate). The interval
at the gate's confidence says what may be said: helped (above a half), hurt (below it), no change that could
hurt by more than the margin, or not told. Where there are two, what was asked for says whether a group is
helped, and the reward, which may have learnt of few people, whether nothing was lost besides. Each line is
asked alone, so that a version which is that much worse for one group passes only if that group's own figure
errs: no correction for their number is needed.

A version that does not pass for everyone may still be what some groups want: if nothing but groups stands in
its way, it is given to those alone that it surely helps, and everyone else keeps the champion's answers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from statistics import NormalDist

from services.retrain.domain.runs import GAINS, GateCheck
from shared.language.estimates import Estimate
from shared.language.groups import EVERYONE_ELSE, Reach, are_apart, is_segment, is_wish, wish_of
from shared.language.interests import ConflictRule, Interests, SmallGroups
from shared.language.wishes import ASKED_FOR

_EVERYONE = Reach()
PASS, FAIL, UNSURE = "pass", "fail", "not_enough_evidence"
_NAME, _WISH = "win_rate", "wish_rate"
_HURT, _UNTOLD, _SAME, _HELPED = range(4)
_WORDS = {
    _HURT: "hurt",
    _UNTOLD: "not told",
    _SAME: "not hurt",
    _HELPED: "helped",
}


def of_groups(estimates: Sequence[Estimate]) -> list[Estimate]:
    """The candidate's win rates, one a group."""
    return [one for one in estimates if _is_of_group(one)]


def of_everyone(estimates: Sequence[Estimate]) -> Estimate | None:
    """The candidate's win rate; with a count of 0 if nothing could judge it."""
    return next((one for one in estimates if one.name == _NAME and not one.group), None)


def word_of(one: Estimate, interests: Interests) -> str:
    """What a win rate says: "helped", "hurt", "not hurt" or "not told"."""
    return _WORDS[_judged(one, interests.margin)]


def hurt(estimates: Sequence[Estimate], interests: Interests) -> list[str]:
    """The groups that surely lose."""
    return [one.group for how, one, _ in _all_judged(estimates, interests) if how == _HURT]


def group_lines(
    estimates: Sequence[Estimate], interests: Interests, sure: float
) -> list[tuple[str, GateCheck]]:
    """(suite, line) of each group: not worse by the margin; by MAXMIN, one of them must gain besides. By MEAN
    the lines are for information."""
    found = of_groups(estimates)
    lines = [_not_worse(one, interests, sure) for one in (*found, *_of_wishes(estimates))]
    if interests.rule is ConflictRule.MAXMIN and found:
        lines.append(_one_gains(found, sure))
    return [(line.estimate.suite, line) for line in lines]


def effects(
    estimates: Sequence[Estimate], interests: Interests, reach: Reach = _EVERYONE
) -> tuple[str, ...]:
    """In words, those who lost first; one line of everyone where nobody is divided into groups, and none before
    the evaluation. `reach`: who gets the version."""
    found = of_groups(estimates)
    if not found:
        everyone = of_everyone(estimates)
        if everyone is None or not everyone.count:
            return ()
        words = f"everyone (no groups are told apart): {_figures(everyone)}"
        return (f"{word_of(everyone, interests)}: {words}",)
    ordered = sorted(_all_judged(estimates, interests), key=lambda one: (one[0], one[1].value))
    return tuple(_words(*one, reach) for one in ordered)


def gaps(
    estimates: Sequence[Estimate], interests: Interests, reach: Reach = _EVERYONE
) -> tuple[str, ...]:
    """What the rule leaves open, in words, for people to decide: whose interests conflict, and whose are not
    known."""
    judged = [(how, one.group) for how, one, _ in _all_judged(estimates, interests)]
    gain, lose, untold = (
        " and ".join(people(group) for found, group in judged if found == how)
        for how in (_HELPED, _HURT, _UNTOLD)
    )
    found = []
    if gain and lose:
        what = {
            True: "each has the answers that they would rather have, and no version serves both",
            False: f"whether the gain is worth the loss is not settled by {interests.rule.value}",
        }
        found.append(f"{lose} would lose by what {gain} gain: {what[bool(reach.groups)]}")
    if untold:
        found.append(f"not known: whether {untold} would lose; more of their feedback would tell")
    return tuple(found)


def _of_wishes(estimates: Sequence[Estimate]) -> list[Estimate]:
    """The candidate's wish rates, one a group that asked for what can be counted."""
    return [one for one in estimates if one.name == _WISH and one.group]


def _all_judged(
    estimates: Sequence[Estimate], interests: Interests
) -> list[tuple[int, Estimate, Estimate | None]]:
    """Of each group what may be said, its win rate, and its wish rate if it has one."""
    wished = {one.group: one for one in _of_wishes(estimates)}
    found = []
    for one in of_groups(estimates):
        wish, how = wished.get(one.group), _judged(one, interests.margin)
        if wish:
            asked = _judged(wish, _margin(wish, interests))
            how = asked if how >= _SAME else min(how, asked)
        found.append((how, one, wish))
    return found


def _margin(one: Estimate, interests: Interests) -> float:
    """Of a wish rate half of it: where neither answer does what was asked for, it counts as a half, so that a
    rate that falls by some points moves it by half of them."""
    return interests.margin / 2 if one.name == _WISH else interests.margin


def _words(how: int, one: Estimate, wish: Estimate | None, reach: Reach) -> str:
    who, figures = people(one.group), _figures(one)
    if wish:
        figures = f"{figures}; {_figures(wish)}"
    if not reach.groups or one.group in reach.groups:
        return f"{_WORDS[how]}: {who}: {figures}"
    if _is_served(one.group, reach):
        return f"served in part: {who}: those of them alone get it who are among {_who(reach)}; {figures}"
    return f"spared: {who}: they keep the answers they had; of the new ones: {figures}"


def _is_served(group: str, reach: Reach) -> bool:
    """Whether some of a group's users may be reached."""
    return group not in reach.spared and not _are_all_apart(group, reach.groups)


def _who(reach: Reach) -> str:
    who = " or ".join(map(people, reach.groups))
    but = " or ".join(map(people, reach.spared))
    return f"{who}, but not {but}" if but else who


def people(group: str) -> str:
    """A group in words."""
    if group == EVERYONE_ELSE:
        return EVERYONE_ELSE
    if asked := ASKED_FOR.get(wish_of(group)):
        return f"people who ask for {asked} ({group})"
    return f"people of {group}" if is_segment(group) else f"people who prefer {group}"


def named(estimates: Sequence[Estimate]) -> list[str]:
    """The groups whose users are known to be there: learnt and declared. Of wishes, who asks for what is seen
    when they come."""
    return [
        one.group
        for one in of_groups(estimates)
        if one.group != EVERYONE_ELSE and not is_wish(one.group)
    ]


def helped_alone(lines: Sequence[GateCheck], sure: float) -> Reach:
    """The groups that a version helps so surely that it may be given to them alone. As the surest of k are
    looked for, each is held to an error of (1 - confidence) / k. Groups whose line does not pass, and whose
    users may be in one of these, too, are spared. Of groups by wishes only those who surely lose are: there are
    many of them, and what some asked for by the way does not stand between others and what they want. Whoever
    is in no segment that is told apart cannot be named: if these are at risk, no learnt group gets it, as it
    may share people with them."""
    told: dict[str, list[GateCheck]] = {}
    for line in lines:
        if line.estimate.group:
            told.setdefault(line.estimate.group, []).append(line)
    helped = tuple(
        group
        for group, theirs in told.items()
        if group != EVERYONE_ELSE and _is_gain(theirs, sure, len(told))
    )
    if EVERYONE_ELSE in _at_risk(lines):
        helped = tuple(group for group in helped if are_apart(group, EVERYONE_ELSE))
    return _alone(helped, lines)


def for_wish(
    lines: Sequence[GateCheck], wish: str, sure: float
) -> tuple[tuple[GateCheck, ...], Reach]:
    """The lines of a version that was trained for one wish, and who gets it if they all hold: those alone who
    have the wish. They must gain; as they were named before anything was measured, and not found among several,
    at the attempt's own confidence. Where they have no figure of their own, everyone's stands for it."""
    reach = _alone((wish,), lines)
    theirs = [line for line in lines if line.estimate.group == wish]
    narrower = (_for_some(line, reach) if theirs or line.estimate.group else line for line in lines)
    return (*narrower, *(_must_gain(one, sure) for one in _deciding(theirs))), reach


def _alone(helped: tuple[str, ...], lines: Sequence[GateCheck]) -> Reach:
    shared = (group for group in _at_risk(lines) if not _are_all_apart(group, helped))
    return Reach(helped, tuple(shared)) if helped else Reach()


def _at_risk(lines: Sequence[GateCheck]) -> tuple[str, ...]:
    """Each once, in the order of their lines."""
    found = (line.estimate.group for line in lines if line.estimate.group and _is_risk(line))
    return tuple(dict.fromkeys(found))


def _deciding(lines: Sequence[GateCheck]) -> list[Estimate]:
    """Of a group's lines, the figures that say whether it gains: by what was asked for, or else by the reward;
    by the others, such as beside the first champion, it is enough that nothing was lost."""
    names = {line.estimate.name for line in lines}
    decides = _WISH if _WISH in names else _NAME
    return [line.estimate for line in lines if line.estimate.name == decides]


def _is_gain(lines: Sequence[GateCheck], sure: float, groups: int) -> bool:
    gains = _deciding(lines)
    is_sure = all(one.confidence >= sure and _low_among(one, groups) > 0.5 for one in gains)
    return bool(gains) and is_sure and all(line.verdict == PASS for line in lines)


def _must_gain(one: Estimate, sure: float) -> GateCheck:
    verdict = PASS if one.low > 0.5 else FAIL if one.high < 0.5 else UNSURE
    if one.confidence < sure:
        verdict = UNSURE
    return GateCheck(one, f"{GAINS}0.5", 0.5, verdict, f"trained for them alone: {_figures(one)}")


def _is_risk(line: GateCheck) -> bool:
    """Of groups by wishes, if they surely lose."""
    lost = (FAIL,) if is_wish(line.estimate.group) else (FAIL, UNSURE)
    return line.verdict in lost


def _are_all_apart(group: str, others: Collection[str]) -> bool:
    return all(are_apart(group, other) for other in others)


def _is_of_group(one: Estimate) -> bool:
    return bool(one.group) and one.name == _NAME


def for_some(lines: Sequence[GateCheck], reach: Reach) -> tuple[GateCheck, ...]:
    """The lines of a version that not everyone gets: whoever keeps the champion's answers loses nothing, and
    whether everyone would gain is for information."""
    return tuple(_for_some(line, reach) for line in lines)


def _for_some(line: GateCheck, reach: Reach) -> GateCheck:
    one = line.estimate
    if one.name.partition(" - ")[0] not in (_NAME, _WISH):
        return line
    if one.group and one.group not in reach.groups and line.verdict != PASS:
        words = f"not served to them, who keep the answers they had; of these: {line.words}"
        if _is_served(one.group, reach):
            words = (
                f"served to those of them alone who are among {_who(reach)}; of all: {line.words}"
            )
        return replace(line, verdict=PASS, words=words)
    if one.group:
        return line
    return replace(
        line, required=False, words=f"{line.words}; served to some alone, so for information"
    )


def _low_among(one: Estimate, count: int) -> float:
    """The lower bound at an error divided by `count`: the interval widened as a normal one would be."""
    error = 1 - one.confidence
    wider = _z(error / count) / _z(error)
    return one.value - (one.value - one.low) * wider


def _z(error: float) -> float:
    return NormalDist().inv_cdf(1 - error / 2)


def _judged(one: Estimate, margin: float) -> int:
    if one.high < 0.5:
        return _HURT
    if one.low > 0.5:
        return _HELPED
    return _SAME if one.low >= 0.5 - margin else _UNTOLD


def _not_worse(one: Estimate, interests: Interests, sure: float) -> GateCheck:
    threshold = 0.5 - _margin(one, interests)
    rule = f"low >= {threshold:g}"
    stops = interests.rule is not ConflictRule.MEAN
    if one.confidence < sure:
        words = f"{_figures(one)}: the confidence is too low for this attempt"
        return GateCheck(one, rule, threshold, UNSURE, words, required=stops)
    verdict = PASS if one.low >= threshold else FAIL if one.high < threshold else UNSURE
    words = _figures(one)
    if verdict == UNSURE and interests.small_groups is SmallGroups.GO_ON:
        stops, words = False, f"{words}: not told; the policy goes on without"
    return GateCheck(one, rule, threshold, verdict, words, required=stops)


def _one_gains(found: Sequence[Estimate], sure: float) -> GateCheck:
    """Which group is worst off with the champion, its users say in the rollout; here, some group must gain."""
    best = max(found, key=lambda one: one.low)
    verdict = PASS if best.low > 0.5 and best.confidence >= sure else UNSURE
    return GateCheck(best, f"{GAINS}0.5 for one group", 0.5, verdict, _figures(best))


def _figures(one: Estimate) -> str:
    what = "its answers do more of what they asked for than the champion's (alike: a half)"
    if one.name != _WISH:
        what = "their reward prefers its answers to the champion's"
    return (
        f"{what} {one.value:.0%} of the time "
        f"[{one.low:.0%}, {one.high:.0%}], over {one.count} requests, among them those of {one.users} users"
    )
