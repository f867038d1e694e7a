"""Every objective on a tiny random Llama: what a training does to the two answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from services.retrain.adapters.encoded import EncodedPair
from services.retrain.adapters.objectives.table import OBJECTIVES
from services.retrain.adapters.recipes import RecipeFolders
from services.retrain.adapters.training import Trainer
from services.retrain.domain.rules import Rules
from services.retrain.domain.training import TrainingPlan, TrainingStep, Unsuitable
from tests.integration.retrain.tiny import PLAN, pairs, policy

# What these change is what users say of, and no chosen answer need gain by it.
OF_WORDS = ("cut", "hindsight")


def trained(
    folder: Path, objective: str, given: list[EncodedPair] | None = None, **changes: object
) -> list[TrainingStep]:
    plan: TrainingPlan = replace(
        PLAN,
        objective=objective,
        nll_weight=0.0,
        max_steps=6,
        **changes,  # type: ignore[arg-type]
    )
    return Trainer(policy(), given or pairs(), plan, folder).run(lambda _: None)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name not in OF_WORDS])
def test_the_chosen_answers_gain_on_the_rejected_ones(tmp_path: Path, name: str):
    steps = trained(tmp_path, name)
    assert steps[-1].loss < steps[0].loss
    if name == "sft":
        assert [step.margin for step in steps] == [0.0] * 6
        assert steps[-1].chosen_change > 0.5
    else:
        assert steps[0].margin == pytest.approx(0.0, abs=1e-4)
        assert steps[-1].margin > 0.05
        assert steps[-1].accuracy == 1.0


def test_cut_unlearns_what_was_complained_of(tmp_path: Path):
    steps = trained(tmp_path, "cut", judgment_weight=4.0)
    assert 0.1 < steps[0].marked < 0.9
    assert steps[-1].loss < steps[0].loss


def test_hindsight_says_without_the_hint_what_it_says_with_it(tmp_path: Path):
    steps = trained(tmp_path, "hindsight")
    assert steps[0].marked > 0.5
    assert steps[-1].loss < 0.7 * steps[0].loss
    assert steps[-1].chosen_change == pytest.approx(0.0, abs=2.0)  # nobody reads the chosen answers


def test_hindsight_refuses_follow_ups_that_change_nothing(tmp_path: Path):
    vague = [replace(pair, hinted=pair.prompt) for pair in pairs()]
    with pytest.raises(Unsuitable, match=r"of 10 of 10 pairs marks 0\.0% .* hindsight needs 2%"):
        trained(tmp_path, "hindsight", vague)


def test_cut_refuses_judgments_that_mark_nothing(tmp_path: Path):
    silent = [replace(pair, judged=()) for pair in pairs()]
    with pytest.raises(Unsuitable, match=r"of 0 of 10 pairs marks 0\.0% .* cut needs 2%"):
        trained(tmp_path, "cut", silent)
    vague = [replace(pair, judged=pair.prompt) for pair in pairs()]
    with pytest.raises(Unsuitable, match=r"of 10 of 10 pairs marks 0\.0%"):
        trained(tmp_path, "cut", vague)


def test_what_an_objective_acts_on_is_told(tmp_path: Path):
    far = [replace(pair, reward_margin=float(n % 2) * 4) for n, pair in enumerate(pairs())]
    for folder in ("clha", "figa", "dpo"):
        (tmp_path / folder).mkdir()
    # Five steps of four are two epochs of ten.
    shares = [step.marked for step in trained(tmp_path / "clha", "clha", far)]
    assert sum(shares[:5]) / 5 == pytest.approx(0.5)
    # No token of these rewrites is the original's.
    assert trained(tmp_path / "figa", "figa")[0].marked == 1.0
    assert trained(tmp_path / "dpo", "dpo")[0].marked == 0.0


def test_a_training_stops_at_dpos_margin_whatever_its_objective(tmp_path: Path):
    steps = trained(tmp_path, "simpo", beta=2.0, stop_margin=3.0)
    assert 3 <= len(steps) < 6
    assert sum(step.margin for step in steps[-3:]) / 3 >= 3.0


@pytest.mark.parametrize("name", sorted(RecipeFolders().all()))
def test_every_shipped_recipe_trains(tmp_path: Path, name: str):
    plan = RecipeFolders().get(name).applied(Rules(plan=PLAN)).plan
    steps = Trainer(policy(), pairs(), replace(plan, max_steps=2), tmp_path).run(lambda _: None)
    assert len(steps) == 2
    assert all(0 < step.gradient_norm < 1000 for step in steps)
    assert steps[1].nll != steps[0].nll
