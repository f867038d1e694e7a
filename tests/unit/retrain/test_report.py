"""The report of a run made by hand: its sentences and figures."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from services.retrain.domain.ngrams import Phrases
from services.retrain.domain.report import Measured, Part, Reason, document, report_of
from services.retrain.domain.report_words import control_words, did_it_help, gate_words
from services.retrain.domain.rules import Rules
from services.retrain.domain.runs import (
    GateCheck,
    Run,
    RunStep,
    State,
    TrainingCost,
    Trigger,
    TriggerKind,
)
from services.retrain.domain.snapshots import Snapshot
from shared.language.estimates import Estimate
from shared.language.examples import Example
from tests.unit.retrain.pairs import START

SNAPSHOT = Snapshot(
    digest="d" * 64,
    uri="snapshots/dd",
    train_pairs=40,
    held_out_pairs=12,
    train_users=10,
    held_out_users=4,
    pairs_by_source={"demonstration": 10, "user_guided_rewrite": 30},
    users_by_source={"demonstration": 3, "user_guided_rewrite": 9},
    largest_user_share=0.15,
    smallest_user_share=0.025,
    replayed_pairs=8,
    praised_answers=6,
    praising_users=5,
    left_out={"TOO_OLD": 2, "USER_SHARE": 5},
    pairs_by_group={"longer": 12, "shorter": 28},
    users_by_group={"longer": 4, "shorter": 6},
)


def rate(name: str, value: float, low: float, high: float, group: str = "") -> Estimate:
    return Estimate(name, value, low, high, 0.975, 60, 25, "s", group=group)


WIN = rate("win_rate", 0.74, 0.6, 0.85)
CONTROL = rate("win_rate@assistant-v2", 0.7, 0.55, 0.82)
LONGER, SHORTER = (
    rate("win_rate", 0.2, 0.1, 0.35, group="longer"),
    rate("win_rate", 0.9, 0.8, 0.95, group="shorter"),
)


def run(*estimates: Estimate, **changes: object) -> Run:
    values: dict[str, object] = {
        "run": "run-1-abc",
        "number": 1,
        "state": State.SUCCEEDED,
        "trigger": Trigger(TriggerKind.PERSON, "ann: new guideline"),
        "create_time": START,
        "update_time": START + timedelta(minutes=30),
        "tenant": "local",
        "rules": Rules(base_model="smollm2"),
        "champion_version": "assistant-v0",
        "model_version": "assistant-v1",
        "control_version": "assistant-v2",
        "snapshot": SNAPSHOT,
        "estimates": estimates,
        "verdict": "passed",
        "attempt": 1,
    }
    return Run(**(values | changes))  # type: ignore[arg-type]


SAYS = (
    "the reward model prefers its answers to the champion's 74% of the time [60%, 85%], over 60 requests,"
    " among them those of 25 users."
)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (run(WIN), f"Yes: {SAYS}"),
        (run(WIN, SHORTER), f"Yes: {SAYS}"),
        (run(WIN, SHORTER, LONGER), f"Yes, but it hurt people who prefer longer: {SAYS}"),
        (
            run(WIN, SHORTER, LONGER, only_groups=("shorter",), spared_groups=("longer",)),
            f"Yes, for people who prefer shorter (but not people who prefer longer) alone: {SAYS}",
        ),
        (
            run(rate("win_rate", 0.3, 0.2, 0.44)),
            "No, it hurt: the reward model prefers its answers to the champion's 30% of the time [20%, 44%],"
            " over 60 requests, among them those of 25 users.",
        ),
        (
            run(rate("win_rate", 0.5, 0.4, 0.6)),
            "No gain can be seen, and no loss beyond the margin either: the reward model prefers its answers"
            " to the champion's 50% of the time [40%, 60%], over 60 requests, among them those of 25 users.",
        ),
        (
            run(rate("win_rate", 0.5, 0.3, 0.7)),
            "It cannot be told: the reward model prefers its answers to the champion's 50% of the time"
            " [30%, 70%], over 60 requests, among them those of 25 users.",
        ),
        (
            run(Estimate("win_rate", 0.5, 0, 1, method="not measured: REWARD_MODEL_UNTRAINED")),
            "It is not known: whose answers are preferred was not measured, because no reward model was"
            " trained.",
        ),
        (run(), "It is not known: whose answers are preferred was not measured."),
        (run(state=State.TRAIN), "It is not known yet: the run is under way (train)."),
        (
            run(state=State.FAILED),
            "It is not known: the run failed before anything was measured.",
        ),
        (
            run(state=State.CANCELLED),
            "It is not known: the run was cancelled before anything was measured.",
        ),
    ],
)
def test_did_it_help_in_one_sentence(found: Run, sentence: str) -> None:
    assert did_it_help(found) == sentence


def line(name: str, verdict: str, required: bool = True, group: str = "") -> GateCheck:
    one = rate(name, 0.31, 0.1, 0.48, group=group)
    return GateCheck(one, "low > 0.5", 0.5, verdict, "0.310 [0.100, 0.480]", required)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (run(gate=(line("win_rate", "pass"),)), "The gate let it pass: every required line holds."),
        (
            run(
                gate=(
                    line("win_rate", "fail"),
                    line("sycophancy - sycophancy@assistant-v0", "fail"),
                    line("length_words", "fail", required=False),
                    line("sane_share", "not_enough_evidence"),
                )
            ),
            "The gate refused it: win rate: 0.310 [0.100, 0.480]; sycophancy above that of assistant-v0:"
            " 0.310 [0.100, 0.480].",
        ),
        (
            run(gate=(line("win_rate", "not_enough_evidence", group="longer"),)),
            "The gate did not let it pass, for want of evidence: win rate of people who prefer longer: 0.310"
            " [0.100, 0.480].",
        ),
        (
            run(gate=(line("win_rate", "pass"),), only_groups=("shorter",)),
            "The gate let it pass for some alone: people who prefer shorter get it; everyone else keeps the"
            " answers they had.",
        ),
        (run(state=State.EVALUATE), "The gate is not reached yet."),
        (run(state=State.FAILED), "The gate was not reached."),
    ],
)
def test_what_the_gate_decided_and_why(found: Run, words: str) -> None:
    assert gate_words(found) == words


@pytest.mark.parametrize(
    ("found", "words"),
    [
        # 0.74 - 0.7; low: 0.04 - sqrt(0.14² + 0.12²), high: 0.04 + sqrt(0.11² + 0.15²)
        (
            run(WIN, CONTROL),
            "The cheaper control, SFT on the same pairs, does as well as far as can be told: 74% against 70%, a"
            " difference of +4 points [-14, +23].",
        ),
        # 0.74 - 0.4 -+ sqrt(0.14² + 0.1²) and sqrt(0.11² + 0.1²)
        (
            run(WIN, rate("win_rate@assistant-v2", 0.4, 0.3, 0.5)),
            "The cheaper control, SFT on the same pairs, does less well: 74% against 40%, a difference of +34"
            " points [+17, +49].",
        ),
        (
            run(WIN, rate("win_rate@assistant-v2", 0.98, 0.95, 1.0)),
            "The cheaper control, SFT on the same pairs, does better: 74% against 98%, a difference of -24"
            " points [-38, -13].",
        ),
        (run(WIN), "The cheaper control, SFT on the same pairs, was not measured."),
        (run(WIN, CONTROL, control_version=""), "No cheaper control was trained."),
    ],
)
def test_whether_the_cheaper_control_does_as_well(found: Run, words: str) -> None:
    assert control_words(found) == words


def test_figures_stand_beside_each_other_and_say_what_got_worse() -> None:
    before, after = (
        rate("sycophancy@assistant-v0", 0.3, 0.2, 0.4),
        rate("sycophancy", 0.6, 0.5, 0.7),
    )
    longer = [
        rate("held_out_pair_accuracy@assistant-v0", 0.9, 0.8, 0.95, group="longer"),
        rate("held_out_pair_accuracy", 0.4, 0.3, 0.5, group="longer"),
    ]
    unmeasured = Estimate("over_refusal", 0, 0, 1)
    same = [rate("sane_share@assistant-v0", 0.9, 0.8, 0.95), rate("sane_share", 0.9, 0.8, 0.95)]
    other = rate("shiny@prompted", 3, 2, 4)
    report = report_of(run(after, before, *longer, unmeasured, *same, other, CONTROL, WIN), None)
    assert [(row.name, row.group, row.change) for row in report.figures] == [
        ("win_rate", "", ""),
        ("held_out_pair_accuracy", "people who prefer longer", "worse"),
        ("sane_share", "", "no measurable difference"),
        ("sycophancy", "", "worse"),
        ("shiny", "", ""),
    ]
    win, *_, sycophancy, shiny = report.figures
    assert win.measured == (
        Measured("candidate", 0.74, 0.6, 0.85, 0.975, 60, 25),
        Measured("control", 0.7, 0.55, 0.82, 0.975, 60, 25),
    )
    assert [one.role for one in sycophancy.measured] == ["champion", "candidate"]
    assert [one.role for one in shiny.measured] == ["prompted"]
    assert report.worse == (
        "Measurably worse than the champion: sides with held-out users in what they chose (people who prefer"
        " longer); gives up a right answer when contradicted."
    )
    better = report_of(
        run(replace(before, name="sycophancy"), replace(after, name=before.name)), None
    )
    assert better.worse == "None of these figures is measurably worse than the champion's."
    assert better.figures[0].change == "better"
    assert report_of(run(WIN), None).worse == ""


def test_from_whose_words_at_what_cost_and_how_again() -> None:
    steps = (
        RunStep(State.QUEUED, 1, START, START + timedelta(seconds=5)),
        RunStep(State.TRAIN, 2, START + timedelta(seconds=5)),
    )
    made = run(
        training_counts={"PROMPT_CUT": 3, "SOMETHING_NEW": 1},
        costs={"dpo": TrainingCost(24, 800.5), "sft": TrainingCost(24, 400.0)},
        base_digest="b" * 64,
        software="trimtab 0.1.0",
        mlflow_run_id="m1",
        steps=steps,
    )
    report = report_of(made, None)
    found = report.provenance
    assert found is not None
    assert found.by_source == (Part("user_guided_rewrite", 30, 9), Part("demonstration", 10, 3))
    assert found.by_group == (Part("shorter", 28, 6), Part("longer", 12, 4))
    assert found.left_out[0] == Reason("USER_SHARE", "their user would have too large a share", 5)
    assert [one.pairs for one in found.left_out] == [5, 2]
    assert (found.held_out_users, found.largest_user_share) == (4, 0.15)
    assert (found.smallest_user_share, found.replayed_pairs) == (0.025, 8)
    assert (found.praised_answers, found.praising_users) == (6, 5)
    assert report.cost.seconds == 1200.5
    assert [(one.code, one.words) for one in report.cost.cut] == [
        ("PROMPT_CUT", "trained on with a part of the prompt"),
        ("SOMETHING_NEW", "SOMETHING_NEW"),
    ]
    assert [(one.attempts, one.seconds) for one in report.cost.stages] == [(1, 5.0), (2, None)]
    again = report.reproduce
    assert again is not None
    assert (again.base_digest, again.software, again.mlflow_run_id) == (
        "b" * 64,
        "trimtab 0.1.0",
        "m1",
    )
    assert again.job["plan"]["learning_rate"] == 3e-4
    assert again.job["snapshot"] == "snapshots/dd"
    assert again.recipe == ""
    named = report_of(run(rules=Rules(recipe="kto", recipe_version=2)), None).reproduce
    assert named is not None
    assert named.recipe == "kto v2"
    assert report.trigger == "A person started it: ann: new guideline"


def test_runs_of_before_users_were_counted_by_source_do_not_say_a_number() -> None:
    report = report_of(run(snapshot=replace(SNAPSHOT, users_by_source={})), None)
    assert report.provenance is not None
    assert [one.users for one in report.provenance.by_source] == [None, None]


def test_the_json_has_all_of_it() -> None:
    example = Example("win_rate", "Why?", {"assistant-v0": "So.", "assistant-v1": "No."})
    report = report_of(run(WIN, SHORTER, LONGER, examples=(example,)), Phrases(pairs=40, users=10))
    told = json.loads(json.dumps(document(report)))
    assert told["format"] == "trimtab-report/1"
    assert told["verdict"]["sentence"] == did_it_help(run(WIN, SHORTER, LONGER))
    assert [words.split(":")[0] for words in told["verdict"]["effects"]] == ["hurt", "helped"]
    assert told["verdict"]["gaps"] == [
        "people who prefer longer would lose by what people who prefer shorter gain: whether the gain is worth"
        " the loss is not settled by no_group_worse"
    ]
    assert told["versions"] == {
        "champion": "assistant-v0",
        "candidate": "assistant-v1",
        "control": "assistant-v2",
        "first": "",
    }
    assert told["started"] == "2026-11-20T12:00:00+00:00"
    assert told["examples"][0]["answers"]["assistant-v1"] == "No."
    assert (told["is_final"], told["phrases"]["users"]) == (True, 10)
