"""Whom a run helped and whom it hurt: the gate's lines for groups, and their words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.retrain.domain.effects import effects, gaps, group_lines, hurt, named
from services.retrain.domain.gate import check
from services.retrain.domain.rules import Thresholds
from shared.language.estimates import Estimate
from shared.language.groups import EVERYONE_ELSE, Reach
from shared.language.interests import ConflictRule, Interests, SmallGroups
from tests.unit.retrain.test_gate import figures

MEAN = Interests(ConflictRule.MEAN, reason="a trial", actor="ada")
GO_ON = Interests(small_groups=SmallGroups.GO_ON, actor="ada")
MAXMIN = Interests(ConflictRule.MAXMIN, actor="ada")


def of(group: str, value: float, low: float, high: float, confidence: float = 0.95) -> Estimate:
    return Estimate(
        "win_rate", value, low, high, confidence, 60, 40, "win_rate", "wilson", group=group
    )


GAINS, SAME = of("shorter", 0.9, 0.8, 0.95), of("longer", 0.5, 0.38, 0.62)
NO_GAIN = of("shorter", 0.5, 0.4, 0.6)
UNTOLD, LOSES = of("longer", 0.42, 0.3, 0.55), of("longer", 0.1, 0.04, 0.2)


@pytest.mark.parametrize(
    ("interests", "groups", "overall", "alone"),
    [
        (Interests(), [GAINS, SAME], "passed", ()),
        (Interests(), [GAINS, LOSES], "passed", ("shorter",)),
        (Interests(), [GAINS, UNTOLD], "passed", ("shorter",)),
        (Interests(), [NO_GAIN, LOSES], "failed", ()),
        (Interests(), [NO_GAIN, UNTOLD], "not_enough_evidence", ()),
        # Surely better alone, but not as the surest of two.
        (Interests(), [of("shorter", 0.62, 0.505, 0.72), LOSES], "failed", ()),
        (GO_ON, [NO_GAIN, UNTOLD], "passed", ()),
        (GO_ON, [NO_GAIN, LOSES], "failed", ()),
        (MEAN, [GAINS, LOSES], "passed", ()),
        (MAXMIN, [GAINS, SAME], "passed", ()),
        (MAXMIN, [NO_GAIN, SAME], "not_enough_evidence", ()),
        (MAXMIN, [GAINS, LOSES], "passed", ("shorter",)),
        (Interests(), [NO_GAIN, of("longer", 0.5, 0.38, 0.62, 0.9)], "not_enough_evidence", ()),
        (Interests(), [LOSES], "failed", ()),
    ],
)
def test_what_a_rule_makes_of_groups(
    interests: Interests, groups: list[Estimate], overall: str, alone: tuple[str, ...]
) -> None:
    all_figures = (*figures(), *groups)
    lines, verdict, reach = check(all_figures, "assistant-v0", Thresholds(), 0.95, (), interests)
    assert (verdict, reach) == (overall, Reach(alone))
    named = [line.estimate.group for line in lines if line.estimate.group]
    assert named[: len(groups)] == [one.group for one in groups]


def test_a_groups_figure_is_never_taken_for_everyones() -> None:
    lines, *_ = check((*figures(), LOSES), "assistant-v0", Thresholds(), 0.95, (), MEAN)
    everyone = [line for line in lines if line.estimate.name == "win_rate"]
    assert [(line.estimate.value, line.verdict) for line in everyone] == [
        (0.8, "pass"),
        (0.1, "fail"),
    ]
    assert [line.required for line in everyone] == [True, False]


@pytest.mark.parametrize(
    ("changes", "overall", "alone"),
    [
        ({"win_rate": Estimate("win_rate", 0.45, 0.33, 0.58, count=60)}, "passed", ("shorter",)),
        ({"sane": Estimate("sane_share", 0.5, 0.4, 0.6, count=60)}, "failed", ()),
        ({"length": Estimate("length_words", 2, 1, 3, count=60)}, "failed", ()),
    ],
)
def test_only_groups_and_the_mean_may_be_got_around_by_serving_some(
    changes: dict[str, Estimate], overall: str, alone: tuple[str, ...]
) -> None:
    measured = (*figures(**changes), GAINS, LOSES)
    _, verdict, reach = check(measured, "assistant-v0", Thresholds(), 0.95)
    assert (verdict, reach) == (overall, Reach(alone))


def test_whoever_keeps_their_answers_is_said_to_be_spared() -> None:
    lines, _, reach = check((*figures(), GAINS, LOSES), "assistant-v0", Thresholds(), 0.95)
    spared = next(line for line in lines if line.estimate.group == "longer")
    assert spared.verdict == "pass"
    assert spared.words.startswith("not served to them, who keep the answers they had; of these: ")
    everyone = next(line for line in lines if line.estimate.name == "win_rate")
    assert not everyone.required
    words = effects((GAINS, LOSES), Interests(), reach)
    assert words[0].startswith("spared: people who prefer longer: they keep the answers they had")
    assert words[1].startswith("helped: people who prefer shorter: ")


def judged(*groups: Estimate) -> tuple[str, Reach]:
    _, verdict, reach = check((*figures(), *groups), "assistant-v0", Thresholds(), 0.95)
    return verdict, reach


def test_those_who_are_in_no_group_are_spared_and_nothing_is_served_to_them_by_name() -> None:
    wants, others = of("wants.length=shorter", 0.9, 0.8, 0.95), of(EVERYONE_ELSE, 0.1, 0.04, 0.2)
    verdict, reach = judged(wants, others)
    assert (verdict, reach) == ("passed", Reach(("wants.length=shorter",)))
    words = effects((wants, others), Interests(), reach)
    assert words[0].startswith("spared: everyone else: they keep the answers they had")
    assert words[1].startswith(
        "helped: people who ask for shorter answers (wants.length=shorter): "
    )
    assert named((wants, others, GAINS)) == ["shorter"]
    gains, loses = of(EVERYONE_ELSE, 0.9, 0.8, 0.95), of("wants.length=longer", 0.1, 0.04, 0.2)
    assert judged(gains, loses) == ("failed", Reach())


def test_what_others_would_lose_is_no_reason_where_too_little_is_known_of_something_else() -> None:
    wants, others = of("wants.length=shorter", 0.9, 0.8, 0.95), of(EVERYONE_ELSE, 0.1, 0.04, 0.2)
    unsure, lost = (
        Estimate("sane_share", one, one - 0.08, one + 0.05, count=60) for one in (0.86, 0.6)
    )
    for sane, verdict, reach in (
        (unsure, "not_enough_evidence", Reach(("wants.length=shorter",))),
        (lost, "failed", Reach()),
    ):
        every = (*figures(sane=sane), wants, others)
        lines, *judged = check(every, "assistant-v0", Thresholds(), 0.95)
        assert judged == [verdict, reach]
        told = {line.estimate.group: line.verdict for line in lines if line.estimate.group}
        assert told[EVERYONE_ELSE] == ("pass" if reach.groups else "fail")


def test_learnt_groups_do_not_get_it_where_those_of_no_segment_would_lose() -> None:
    """Learnt groups that do not tell the few from the many share people with those who ask for nothing."""
    wants, others = of("wants.length=shorter", 0.9, 0.8, 0.95), of(EVERYONE_ELSE, 0.1, 0.04, 0.2)
    measured = (wants, others, of("lists", 0.9, 0.8, 0.95), of("no lists", 0.9, 0.8, 0.95))
    verdict, reach = judged(*measured)
    assert (verdict, reach) == ("passed", Reach(("wants.length=shorter",)))
    words = effects(measured, Interests(), reach)
    assert words[2].startswith(
        "served in part: people who prefer lists: those of them alone get it who are among people who ask"
        " for shorter answers (wants.length=shorter); "
    )


def test_nobody_gets_it_who_is_known_to_be_of_a_group_that_would_lose() -> None:
    phone, desktop = of("reader=phone", 0.9, 0.8, 0.95), of("reader=desktop", 0.1, 0.04, 0.2)
    # Nobody has two readers.
    assert judged(phone, desktop) == ("passed", Reach(("reader=phone",)))
    # But those on a phone may prefer long answers, and who asked for short ones may be on a desktop.
    verdict, reach = judged(phone, LOSES)
    assert (verdict, reach) == ("passed", Reach(("reader=phone",), ("longer",)))
    words = effects((phone, LOSES), Interests(), reach)
    assert words[0].startswith("spared: people who prefer longer: they keep the answers they had")
    wants = of("wants.length=shorter", 0.9, 0.8, 0.95)
    assert judged(wants, desktop) == (
        "passed",
        Reach(("wants.length=shorter",), ("reader=desktop",)),
    )
    assert judged(wants, phone, desktop) == (
        "passed",
        Reach(("wants.length=shorter", "reader=phone"), ("reader=desktop",)),
    )


def test_a_wish_stands_in_the_way_of_those_alone_who_surely_lose() -> None:
    phone, desktop = of("reader=phone", 0.9, 0.8, 0.95), of("reader=desktop", 0.1, 0.04, 0.2)
    lists, lost = of("wants.form=list", 0.42, 0.3, 0.55), of("wants.form=list", 0.1, 0.04, 0.2)
    assert judged(lists, phone, desktop) == ("passed", Reach(("reader=phone",)))
    assert judged(lost, phone, desktop) == (
        "passed",
        Reach(("reader=phone",), ("wants.form=list",)),
    )
    lines, _, reach = check((*figures(), lists, phone, LOSES), "assistant-v0", Thresholds(), 0.95)
    told = {line.estimate.group: line.words for line in lines}
    who = "people of reader=phone, but not people who prefer longer"
    assert told["wants.form=list"].startswith(
        f"served to those of them alone who are among {who}; of all: "
    )
    words = effects((lists, phone, LOSES), Interests(), reach)
    assert words[1].startswith(
        "served in part: people who ask for lists (wants.form=list): those of them alone get it who are"
        f" among {who}; "
    )


def wish(group: str, value: float, low: float, high: float) -> Estimate:
    return replace(of(group, value, low, high), name="wish_rate")


def test_nobody_is_helped_who_does_not_get_what_they_asked_for() -> None:
    """Whatever a reward says that learnt of few."""
    lists, shorter = (
        of("wants.form=list", 0.9, 0.8, 0.95),
        of("wants.length=shorter", 0.9, 0.8, 0.95),
    )
    more, fewer = wish("wants.form=list", 0.7, 0.6, 0.8), wish("wants.form=list", 0.2, 0.1, 0.3)
    brief = wish("wants.length=shorter", 0.95, 0.9, 0.99)
    others = of(EVERYONE_ELSE, 0.1, 0.04, 0.2)
    both = Reach(("wants.form=list", "wants.length=shorter"))
    assert judged(lists, shorter, others, more, brief) == ("passed", both)
    alone = Reach(("wants.length=shorter",), ("wants.form=list",))
    assert judged(lists, shorter, others, fewer, brief) == ("passed", alone)
    words = effects((lists, shorter, others, fewer, brief), Interests(), alone)
    assert words[1] == (
        "spared: people who ask for lists (wants.form=list): they keep the answers they had; of the new"
        " ones: their reward prefers its answers to the champion's 90% of the time [80%, 95%], over 60"
        " requests, among them those of 40 users; its answers do more of what they asked for than the"
        " champion's (alike: a half) 20% of the time [10%, 30%], over 60 requests, among them those of 40 users"
    )
    assert hurt((lists, shorter, others, fewer, brief), Interests()) == [
        "wants.form=list",
        EVERYONE_ELSE,
    ]


@pytest.mark.parametrize(
    ("reward", "asked", "word", "alone"),
    [
        ((0.9, 0.8, 0.95), (0.7, 0.6, 0.8), "helped", ("wants.form=list",)),
        ((0.5, 0.4, 0.6), (0.7, 0.6, 0.8), "helped", ("wants.form=list",)),
        ((0.9, 0.8, 0.95), (0.5, 0.44, 0.56), "not hurt", ()),
        ((0.9, 0.8, 0.95), (0.42, 0.35, 0.49), "hurt", ()),
        ((0.4, 0.3, 0.5), (0.7, 0.6, 0.8), "not told", ()),
        ((0.1, 0.05, 0.2), (0.7, 0.6, 0.8), "hurt", ()),
    ],
)
def test_what_was_asked_for_decides_and_the_reward_stands_in_the_way(
    reward: tuple[float, float, float],
    asked: tuple[float, float, float],
    word: str,
    alone: tuple[str, ...],
) -> None:
    others = of(EVERYONE_ELSE, 0.1, 0.04, 0.2)
    found = (of("wants.form=list", *reward), wish("wants.form=list", *asked), others)
    assert judged(*found)[1].groups == alone
    (words,) = (one for one in effects(found, Interests()) if "wants.form=list" in one)
    assert words.startswith(f"{word}: people who ask for lists (wants.form=list): ")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.425, 0.6, "passed"), (0.42, 0.6, "not_enough_evidence"), (0.2, 0.42, "failed")],
)
def test_a_wish_rate_may_be_half_the_margin_below_a_half(
    low: float, high: float, verdict: str
) -> None:
    same = of("wants.form=list", 0.5, 0.4, 0.6)
    assert judged(same, wish("wants.form=list", 0.41, low, high)) == (verdict, Reach())


def test_what_the_rule_leaves_open_is_for_people_to_decide() -> None:
    assert gaps((GAINS, SAME), Interests()) == ()
    assert gaps((GAINS, LOSES), Interests(), Reach(("shorter",))) == (
        "people who prefer longer would lose by what people who prefer shorter gain: each has the answers that"
        " they would rather have, and no version serves both",
    )
    conflict, unknown = gaps((GAINS, LOSES, of("plan=free", 0.5, 0.2, 0.8)), Interests())
    assert conflict.endswith(
        ": whether the gain is worth the loss is not settled by no_group_worse"
    )
    assert unknown == (
        "not known: whether people of plan=free would lose; more of their feedback would tell"
    )
    assert gaps((UNTOLD, GAINS), Interests()) == (
        "not known: whether people who prefer longer would lose; more of their feedback would tell",
    )


def test_the_threshold_is_the_margin_below_a_half() -> None:
    ((suite, line),) = group_lines([SAME], Interests(margin=0.2, actor="ada"), 0.95)
    assert (suite, line.rule, line.threshold) == ("win_rate", "low >= 0.3", 0.3)


def test_those_who_lost_come_first() -> None:
    control = Estimate("win_rate@assistant-v2", 0.6, 0.5, 0.7, group="longer")
    words = effects([*figures(), GAINS, control, LOSES, of("lists", 0.5, 0.4, 0.6)], Interests())
    assert words == (
        "hurt: people who prefer longer: their reward prefers its answers to the champion's 10% of the time "
        "[4%, 20%], over 60 requests, among them those of 40 users",
        "not hurt: people who prefer lists: their reward prefers its answers to the champion's 50% of the time "
        "[40%, 60%], over 60 requests, among them those of 40 users",
        "helped: people who prefer shorter: their reward prefers its answers to the champion's 90% of the time "
        "[80%, 95%], over 60 requests, among them those of 40 users",
    )
    assert effects([UNTOLD], Interests())[0].startswith("not told: people who prefer longer: ")


def test_where_nobody_is_divided_everyone_is_told() -> None:
    (words,) = effects(figures(), Interests())
    assert words.startswith("helped: everyone (no groups are told apart): their reward prefers")
    assert effects([], Interests()) == ()
