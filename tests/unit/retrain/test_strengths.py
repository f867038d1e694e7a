"""One training at several strengths: the first that passes serves, and each is an attempt of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.retrain.adapters.recipes import read_recipe
from services.retrain.codec import encode_recipe, encode_run
from services.retrain.domain.report import report_of
from services.retrain.domain.report_words import strength_words
from services.retrain.domain.rules import Thresholds
from services.retrain.domain.runs import Run, State
from services.retrain.domain.strengths import at_next_strength, checked
from services.retrain.ports import Contest, Evaluated
from services.retrain.settings import RetrainSettings
from shared.language.errors import InvalidArgument
from shared.language.estimates import Estimate
from shared.language.groups import Reach
from tests.unit.retrain.house import House
from tests.unit.retrain.test_gate import figures

UNSURE = figures(win_rate=Estimate("win_rate", 0.55, 0.42, 0.67, count=60))
HARMFUL = figures(win_rate=Estimate("win_rate", 0.3, 0.2, 0.42, count=60))
RECIPE = """recipe = "gentle"
version = 1
what = "As little as passes"
[training]
objective = "dpo"
[gate]
strengths = {}
"""


class Rounds:
    """An evaluator that finds other figures each time."""

    def __init__(self, *rounds: tuple[Estimate, ...]) -> None:
        self.rounds, self.contests = list(rounds), list[Contest]()

    def evaluate(self, contest: Contest) -> Evaluated:
        self.contests.append(contest)
        found = self.rounds[len(self.contests) - 1]
        return Evaluated(tuple(replace(one, confidence=contest.confidence) for one in found))


def judged(strengths: tuple[float, ...], *rounds: tuple[Estimate, ...]) -> tuple[House, Run]:
    house = House(thresholds=Thresholds(strengths=strengths), train_control=False)
    house.evaluator = Rounds(*rounds)  # type: ignore[assignment]
    house.runner = house.new_runner()
    house.mine()
    house.start("r1")
    return house, house.walk(60)


def test_the_least_strength_that_passes_is_rolled_out() -> None:
    house, run = judged((0.25, 0.5, 1.0), UNSURE, figures())
    assert (run.state, run.verdict, run.strength) == (State.SUCCEEDED, "passed", 0.5)
    assert [(one.strength, one.version, one.attempt) for one in run.tried] == [
        (0.25, "assistant-v1", 1)
    ]
    assert run.tried[0].win_rate == "0.550 [0.420, 0.670] at 0.975 from 60"
    # Trained once, and looked at twice: the second look asks more.
    assert house.trainer.trained == [f"{run.run}/dpo"]
    assert (run.model_version, run.attempt) == ("assistant-v2", 2)
    assert [one.confidence for one in house.evaluator.contests] == [0.975, 1 - 0.05 / 6]
    assert house.registry.rejected == [("local", "assistant-v1")]
    assert house.registry.rollouts == [("local", "assistant-v2")]
    at = [made.adapter_path for _, made in house.registry.versions.values()]
    assert at == [f"adapters/{run.run}/dpo@0.25", f"adapters/{run.run}/dpo@0.5"]
    states = [step.state for step in run.steps]
    assert states.count(State.EVALUATE) == states.count(State.GATE) == 2


def test_what_harms_is_not_tried_at_a_greater_strength() -> None:
    _, run = judged((0.5, 1.0), HARMFUL)
    assert (run.state, run.verdict, run.strength, run.tried) == (
        State.REJECTED,
        "failed",
        0.5,
        (),
    )


def sane(value: float, half: float) -> Estimate:
    return Estimate("sane_share", value, value - half, value + half, count=60)


LESS_SANE, MAD = figures(sane=sane(0.86, 0.08)), figures(sane=sane(0.6, 0.05))


@pytest.mark.parametrize(
    ("first", "verdict"), [(LESS_SANE, "not_enough_evidence"), (MAD, "failed")]
)
def test_what_loses_too_much_is_tried_at_a_lesser_strength(
    first: tuple[Estimate, ...], verdict: str
) -> None:
    house, run = judged((1.0, 0.7), first, figures())
    assert (run.state, run.verdict, run.strength) == (State.SUCCEEDED, "passed", 0.7)
    assert [(one.strength, one.verdict, one.attempt) for one in run.tried] == [(1.0, verdict, 1)]
    at = [made.adapter_path for _, made in house.registry.versions.values()]
    assert at == [f"adapters/{run.run}/dpo", f"adapters/{run.run}/dpo@0.7"]


def test_whom_a_strength_was_for_is_not_said_of_the_next_one() -> None:
    _, run = judged((1.0, 0.7), LESS_SANE, figures())
    was_for_some = run.reaching(Reach(("shorter",), ("longer",)))
    assert at_next_strength(was_for_some).reach == Reach()


@pytest.mark.parametrize("first", [UNSURE, HARMFUL, figures()])
def test_what_does_not_gain_is_not_made_weaker(first: tuple[Estimate, ...]) -> None:
    _, run = judged((1.0, 0.7), first)
    assert (run.strength, run.tried) == (1.0, ())


def test_the_greatest_is_the_last() -> None:
    house, run = judged((0.5, 1.0), UNSURE, UNSURE)
    assert (run.state, run.verdict, run.strength) == (
        State.REJECTED,
        "not_enough_evidence",
        1.0,
    )
    assert house.registry.rejected == [("local", "assistant-v1"), ("local", "assistant-v2")]
    assert list(house.registry.versions) == [f"{run.run}/dpo@0.5", f"{run.run}/dpo"]


def test_another_process_goes_on_with_the_strength_that_the_first_was_at() -> None:
    house = House(thresholds=Thresholds(strengths=(0.5, 1.0)), train_control=False)
    house.evaluator = Rounds(UNSURE, figures())  # type: ignore[assignment]
    house.runner = house.new_runner()
    house.mine()
    house.start("r1")
    house.walk(60, until=lambda run: bool(run.tried))
    house.runner = house.new_runner()
    run = house.walk(60)
    assert (run.strength, run.attempt, run.model_version) == (1.0, 2, "assistant-v2")
    assert house.trainer.trained == [f"{run.run}/dpo"]


def test_a_run_says_what_was_tried() -> None:
    _, run = judged((0.5, 1.0), UNSURE, figures())
    words = strength_words(run)
    assert words == (
        "The adapter's strength is 1, of 0.5, 1 (1: as it was trained). At 0.5 there was too little"
        " evidence (0.550 [0.420, 0.670] at 0.975 from 60)."
    )
    assert report_of(run, None).strength == words
    reproduced = report_of(run, None).reproduce
    assert reproduced is not None
    assert reproduced.job["strengths"] == [0.5]
    encoded = encode_run(run)
    assert (encoded.strength, encoded.tried[0].strength, encoded.tried[0].gate_attempt) == (
        1,
        0.5,
        1,
    )
    assert strength_words(replace(run, rules=replace(run.rules, thresholds=Thresholds()))) == ""


@pytest.mark.parametrize(
    "wrong", [(), (0.0, 1.0), (-1.0, 0.5), (0.5, 0.5), (2.5,), (float("nan"),), (0.1,) * 6]
)
def test_strengths_are_above_zero_to_two_each_once(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="strength"):
        checked(wrong)
    assert checked((1.0, 0.25, 2.0)) == (1.0, 0.25, 2.0)


def test_settings_and_recipes_name_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_RETRAIN_GATE_STRENGTHS", "0.5, 1")
    assert RetrainSettings().rules.thresholds.strengths == (0.5, 1.0)
    monkeypatch.setenv("TRIMTAB_RETRAIN_GATE_STRENGTHS", "1,1")
    with pytest.raises(ValidationError, match="gate_strengths"):
        RetrainSettings()
    path = tmp_path / "gentle.toml"
    path.write_text(RECIPE.format("[0.5, 1.0]"))
    recipe = read_recipe(path)
    assert recipe.thresholds == {"strengths": (0.5, 1.0)}
    assert dict(encode_recipe(recipe).gate) == {"strengths": "0.5, 1"}
    path.write_text(RECIPE.format("[1.0, 1.0]"))
    with pytest.raises(
        InvalidArgument, match=r"gentle.toml: gate.strengths: each strength must be"
    ):
        read_recipe(path)
