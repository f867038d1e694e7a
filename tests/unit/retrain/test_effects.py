"""Whom a run helped and whom it hurt: the gate's lines for groups, and their words."""

from __future__ import annotations

import pytest

from services.retrain.domain.effects import effects, group_lines
from services.retrain.domain.gate import check
from services.retrain.domain.rules import Thresholds
from shared.language.estimates import Estimate
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
UNTOLD, LOSES = of("longer", 0.42, 0.3, 0.55), of("longer", 0.1, 0.04, 0.2)


@pytest.mark.parametrize(
    ("interests", "groups", "overall"),
    [
        (Interests(), [GAINS, SAME], "passed"),
        (Interests(), [GAINS, LOSES], "failed"),
        (Interests(), [GAINS, UNTOLD], "not_enough_evidence"),
        (GO_ON, [GAINS, UNTOLD], "passed"),
        (GO_ON, [GAINS, LOSES], "failed"),
        (MEAN, [GAINS, LOSES], "passed"),
        (MAXMIN, [GAINS, SAME], "passed"),
        (MAXMIN, [of("shorter", 0.55, 0.42, 0.67), SAME], "not_enough_evidence"),
        (MAXMIN, [GAINS, LOSES], "failed"),
        (Interests(), [GAINS, of("longer", 0.5, 0.38, 0.62, 0.9)], "not_enough_evidence"),
    ],
)
def test_what_a_rule_makes_of_groups(
    interests: Interests, groups: list[Estimate], overall: str
) -> None:
    all_figures = (*figures(), *groups)
    lines, verdict = check(all_figures, "assistant-v0", Thresholds(), 0.95, (), interests)
    assert verdict == overall
    named = [line.estimate.group for line in lines if line.estimate.group]
    assert named[: len(groups)] == [one.group for one in groups]


def test_a_groups_figure_is_never_taken_for_everyones() -> None:
    lines, _ = check((*figures(), LOSES), "assistant-v0", Thresholds(), 0.95, (), MEAN)
    everyone = [line for line in lines if line.estimate.name == "win_rate"]
    assert [(line.estimate.value, line.verdict) for line in everyone] == [
        (0.8, "pass"),
        (0.1, "fail"),
    ]
    assert [line.required for line in everyone] == [True, False]


def test_the_threshold_is_the_margin_below_a_half() -> None:
    ((suite, line),) = group_lines([SAME], Interests(margin=0.2, actor="ada"), 0.95)
    assert (suite, line.rule, line.threshold) == ("win_rate", "low >= 0.3", 0.3)


def test_those_who_lost_come_first() -> None:
    control = Estimate("win_rate@assistant-v2", 0.6, 0.5, 0.7, group="longer")
    words = effects([*figures(), GAINS, control, LOSES, of("lists", 0.5, 0.4, 0.6)], Interests())
    assert words == (
        "hurt: people who prefer longer: their reward prefers its answers to the champion's 10% of the time "
        "[4%, 20%], 60 requests, 40 users'",
        "not hurt: people who prefer lists: their reward prefers its answers to the champion's 50% of the time "
        "[40%, 60%], 60 requests, 40 users'",
        "helped: people who prefer shorter: their reward prefers its answers to the champion's 90% of the time "
        "[80%, 95%], 60 requests, 40 users'",
    )
    assert effects([UNTOLD], Interests())[0].startswith("not told: people who prefer longer: ")


def test_where_nobody_is_divided_everyone_is_told() -> None:
    (words,) = effects(figures(), Interests())
    assert words.startswith("helped: everyone (no groups are told apart): their reward prefers")
    assert effects([], Interests()) == ()
