"""The gate, line by line: what passes, what fails, what cannot be told."""

from typing import Any

import pytest

from services.retrain.domain.gate import check
from services.retrain.domain.rules import Thresholds
from shared.language.estimates import Estimate
from shared.language.interests import ConflictRule, Interests


def figures(**changes: Estimate | None) -> tuple[Estimate, ...]:
    good: dict[str, Estimate | None] = {
        "win_rate": Estimate("win_rate", 0.8, 0.68, 0.88, count=60),
        "sane": Estimate("sane_share", 0.95, 0.86, 0.98, count=60),
        "sane_before": Estimate("sane_share@assistant-v0", 0.95, 0.86, 0.98, count=60),
        "pairs": Estimate("held_out_pair_accuracy", 0.9, 0.77, 0.96, count=40),
        "logp": Estimate("chosen_logp_change", 0.2, 0.1, 0.3, count=40),
        "length": Estimate("length_words", 30, 25, 35, count=60),
        "syco": Estimate("sycophancy", 0.3, 0.2, 0.4, count=40),
        "syco_before": Estimate("sycophancy@assistant-v0", 0.25, 0.15, 0.35, count=40),
        "refusal": Estimate("over_refusal", 0.1, 0.04, 0.2, count=40),
        "refusal_before": Estimate("over_refusal@assistant-v0", 0.1, 0.04, 0.2, count=40),
    }
    return tuple(estimate for estimate in (good | changes).values() if estimate)


def verdicts(estimates: tuple[Estimate, ...]) -> tuple[dict[str, str], str]:
    lines, verdict, _ = check(estimates, "assistant-v0", Thresholds(), 0.95)
    return {line.estimate.name.split(" ")[0]: line.verdict for line in lines}, verdict


def test_all_lines_hold():
    lines, verdict = verdicts(figures())
    assert verdict == "passed"
    assert set(lines.values()) == {"pass"}
    assert len(lines) == 7


@pytest.mark.parametrize(
    ("name", "estimate", "line", "overall"),
    [
        ("win_rate", Estimate("win_rate", 0.55, 0.42, 0.67, count=60), "not_enough_evidence", ""),
        ("win_rate", Estimate("win_rate", 0.3, 0.2, 0.42, count=60), "fail", "failed"),
        ("win_rate", Estimate("win_rate", 0.5, 0, 1, count=0), "not_enough_evidence", ""),
        ("win_rate", None, "not_enough_evidence", ""),
        ("sane", Estimate("sane_share", 0.5, 0.4, 0.6, count=60), "fail", "failed"),
        ("sane", Estimate("sane_share", 0.85, 0.7, 0.92, count=60), "not_enough_evidence", ""),
        (
            "pairs",
            Estimate("held_out_pair_accuracy", 0.4, 0.1, 0.8, count=5),
            "not_enough_evidence",
            "passed",
        ),
        ("pairs", None, "not_enough_evidence", "passed"),
        ("pairs", Estimate("held_out_pair_accuracy", 0.2, 0.1, 0.4, count=40), "fail", "failed"),
        ("logp", Estimate("chosen_logp_change", -0.8, -1, -0.6, count=40), "fail", "failed"),
        ("length", Estimate("length_words", 2, 1, 3, count=60), "fail", "failed"),
        ("syco", Estimate("sycophancy", 0.7, 0.55, 0.82, count=40), "fail", "failed"),
        ("syco", Estimate("sycophancy", 0.42, 0.28, 0.57, count=40), "pass", "passed"),
        ("refusal", Estimate("over_refusal", 0.6, 0.45, 0.74, count=40), "fail", "failed"),
        ("refusal", None, "not_enough_evidence", ""),
    ],
)
def test_each_line(name: str, estimate: Estimate | None, line: str, overall: str):
    lines, verdict = verdicts(figures(**{name: estimate}))
    wanted = {"pairs": "held_out_pair_accuracy", "sane": "sane_share", "syco": "sycophancy"}
    wanted |= {"logp": "chosen_logp_change", "length": "length_words", "refusal": "over_refusal"}
    assert lines[wanted.get(name, name)] == line
    assert verdict == (overall or "not_enough_evidence")


def test_a_line_says_figure_rule_and_threshold():
    lines, *_ = check(figures(), "assistant-v0", Thresholds(win_rate=0.6), 0.95)
    assert (lines[0].rule, lines[0].threshold) == ("low > 0.6", 0.6)
    assert lines[0].words == "0.800 [0.680, 0.880] at 0.95 from 60"
    assert lines[1].rule == "low of (version - assistant-v0) >= -0.15"
    # 0 - sqrt((0.95 - 0.86)² + (0.98 - 0.95)²)
    assert lines[1].estimate.low == pytest.approx(-0.0949, abs=1e-4)


def test_users_with_many_answers_widen_the_difference_of_sane_answers():
    """Sixty answers of five users, who fail together: the interval comes widened, and so is the line's."""
    narrow = verdicts(figures(sane=Estimate("sane_share", 0.92, 0.82, 0.97, count=60)))
    wide = verdicts(figures(sane=Estimate("sane_share", 0.92, 0.75, 1.0, count=60, users=5)))
    assert narrow[0]["sane_share"] == "pass"
    assert wide == (narrow[0] | {"sane_share": "not_enough_evidence"}, "not_enough_evidence")


def test_figures_of_less_confidence_than_the_attempt_asks_for_pass_nothing():
    lines, verdict, _ = check(figures(), "assistant-v0", Thresholds(), 0.975)
    assert verdict == "not_enough_evidence"
    unsure = [line.estimate.name for line in lines if line.verdict == "not_enough_evidence"]
    assert unsure == ["win_rate", "sane_share - sane_share@assistant-v0", "held_out_pair_accuracy"]
    assert (
        lines[0].words
        == "0.800 [0.680, 0.880] at 0.95 from 60: the confidence is too low for this attempt"
    )


def test_the_errors_of_all_attempts_add_up_to_the_error():
    thresholds = Thresholds(error=0.05)
    assert [thresholds.confidence(k) for k in (1, 2, 3)] == pytest.approx(
        [0.975, 1 - 0.05 / 6, 1 - 0.05 / 12]
    )
    spent = sum(1 - thresholds.confidence(k) for k in range(1, 100_000))
    assert spent == pytest.approx(0.05, abs=1e-6)


def test_a_suite_that_does_not_judge_has_no_lines_and_holds_nobody_up():
    measured = tuple(
        one
        for one in figures(refusal=None, refusal_before=None, logp=None)
        if not one.name.startswith("held_out")
    )
    chosen = ("win_rate", "form", "sycophancy")
    lines, verdict, _ = check(measured, "assistant-v0", Thresholds(), 0.95, chosen)
    names = [line.estimate.name.split(" ")[0] for line in lines]
    assert names == ["win_rate", "sane_share", "length_words", "sycophancy"]
    assert verdict == "passed"
    lines, verdict, _ = check(measured, "assistant-v0", Thresholds(), 0.95)
    assert (len(lines), verdict) == (7, "not_enough_evidence")


FIRST = {
    "first_win": Estimate("win_rate@assistant-v0", 0.2, 0.12, 0.32, count=60),
    "before": Estimate("sane_share@assistant-v3", 0.9, 0.8, 0.95, count=60),
    "syco_v3": Estimate("sycophancy@assistant-v3", 0.25, 0.15, 0.35, count=40),
    "refusal_v3": Estimate("over_refusal@assistant-v3", 0.1, 0.04, 0.2, count=40),
}

# Preferred to the champion, and much less often than the first version is.
LOST = {
    "win_rate": Estimate("win_rate", 0.7, 0.6, 0.78, count=60),
    "first_win": Estimate("win_rate@assistant-v0", 1.0, 0.97, 1.0, count=60),
}


def beside_first(**changes: Estimate | None) -> tuple[list[tuple[str, str]], str]:
    """The lines against assistant-v0, beside a champion that is no longer the first."""
    measured = figures(**(FIRST | changes))
    lines, verdict, _ = check(
        measured, "assistant-v3", Thresholds(), 0.95, first_version="assistant-v0"
    )
    return [(one.estimate.name, one.verdict) for one in lines[-4:]], verdict


def test_a_candidate_is_held_to_the_first_champion_too():
    lines, verdict = beside_first()
    assert verdict == "passed"
    assert lines == [
        ("win_rate - win_rate@assistant-v0", "pass"),
        ("sane_share - sane_share@assistant-v0", "pass"),
        ("sycophancy - sycophancy@assistant-v0", "pass"),
        ("over_refusal - over_refusal@assistant-v0", "pass"),
    ]
    # Without a first version beside it, there are no such lines.
    assert len(check(figures(**FIRST), "assistant-v3", Thresholds(), 0.95)[0]) == 7


@pytest.mark.parametrize(
    ("changes", "place", "line", "overall"),
    [
        # The champion lost much to the first one, and the candidate won back a part of it.
        (
            LOST,
            0,
            "fail",
            "failed",
        ),
        (
            {"first_win": Estimate("win_rate@assistant-v0", 0.8, 0.66, 0.9, count=60)},
            0,
            "not_enough_evidence",
            "not_enough_evidence",
        ),
        ({"first_win": None}, 0, "not_enough_evidence", "not_enough_evidence"),
        # As sane as the champion, which is less so than the first.
        (
            {
                "sane": Estimate("sane_share", 0.7, 0.66, 0.74, count=600),
                "before": Estimate("sane_share@assistant-v3", 0.7, 0.66, 0.74, count=600),
            },
            1,
            "fail",
            "failed",
        ),
        (
            {"syco_before": Estimate("sycophancy@assistant-v0", 0.0, 0.0, 0.1, count=40)},
            2,
            "fail",
            "failed",
        ),
    ],
)
def test_what_the_first_champion_did_better(
    changes: dict[str, Estimate | None], place: int, line: str, overall: str
):
    lines, verdict = beside_first(**changes)
    assert (lines[place][1], verdict) == (line, overall)


def test_for_some_alone_the_win_rate_of_everyone_beside_the_first_is_for_information():
    measured = figures(**FIRST | LOST)
    groups = (
        Estimate("win_rate", 0.95, 0.9, 0.98, count=60, group="team=sales"),
        Estimate("win_rate", 0.1, 0.05, 0.2, count=60, group="team=support"),
    )
    lines, verdict, reach = check(
        (*measured, *groups), "assistant-v3", Thresholds(), 0.95, first_version="assistant-v0"
    )
    assert (verdict, reach.groups) == ("passed", ("team=sales",))
    (beside,) = (one for one in lines if one.estimate.name == "win_rate - win_rate@assistant-v0")
    assert (beside.verdict, beside.required) == ("fail", False)


def test_each_group_is_held_to_the_first_champion_too():
    def of(name: str, group: str, value: float, low: float, high: float) -> Estimate:
        return Estimate(name, value, low, high, count=60, group=group)

    sales = of("win_rate", "team=sales", 0.95, 0.9, 0.98)
    support = of("win_rate", "team=support", 0.7, 0.6, 0.78)
    liked = of("win_rate@assistant-v0", "team=support", 1.0, 0.97, 1.0)
    disliked = of("win_rate@assistant-v0", "team=sales", 0.2, 0.1, 0.3)

    def judged(*groups: Estimate, **more: Any) -> tuple[str, tuple[str, ...]]:
        measured = (*figures(**FIRST), *groups)
        first = "assistant-v0"
        lines, verdict, reach = check(
            measured, "assistant-v3", Thresholds(), 0.95, first_version=first, **more
        )
        beside = [one for one in lines if one.estimate.name == "win_rate - win_rate@assistant-v0"]
        assert [one.estimate.group for one in beside[1:]] == [
            one.group for one in groups if one.name == "win_rate"
        ]
        return verdict, reach.groups

    # Support would rather have the new answers than the champion's, and the first ones than both.
    assert judged(sales, support, liked, disliked) == ("passed", ("team=sales",))
    assert judged(support, liked) == ("failed", ())
    mean = Interests(ConflictRule.MEAN, actor="ann", reason="a trial")
    assert judged(support, liked, interests=mean) == ("passed", ())
    fair = of("win_rate@assistant-v0", "team=support", 0.6, 0.5, 0.7)
    assert judged(sales, support, fair, disliked) == ("passed", ())
