"""Trainings that keep the answers that users praised."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from services.retrain.adapters.encoded import Group
from services.retrain.adapters.policy import LoraPolicy
from services.retrain.adapters.training import Trainer
from services.retrain.domain.training import TrainingPlan, TrainingStep
from tests.integration.retrain.tiny import PLAN, pairs, policy

KEEPING = replace(PLAN, keep_answers=2, keep_weight=1.0)
# Answers as those that the pairs teach away from, to other prompts.
PRAISED = [Group(one.prompt, (one.rejected,)) for one in pairs(14)[10:]]
pytestmark = pytest.mark.timeout(300)


def trained(
    folder: Path, plan: TrainingPlan, praised: list[Group]
) -> tuple[LoraPolicy, list[TrainingStep]]:
    folder.mkdir(exist_ok=True)
    found = policy()
    return found, Trainer(found, pairs(), plan, folder, praised=praised).run(lambda _: None)


def changes(of: LoraPolicy) -> list[float]:
    """Of each praised answer, in nats per token."""
    found = []
    with torch.no_grad():
        for group in PRAISED:
            (reference,) = of.prepare(group).references
            (now,) = of.log_probabilities(of.prepare(group))
            found.append(float((now - reference).mean()))
    return found


def test_what_is_praised_is_lost_without_being_kept_and_stays_with_it(tmp_path: Path):
    lost, steps = trained(tmp_path / "lost", KEEPING, [])
    kept, told = trained(tmp_path / "kept", KEEPING, PRAISED)
    assert max(changes(lost)) < -0.03 and min(changes(lost)) < -0.4
    assert min(changes(kept)) > -0.02
    # The wish is learnt all the same.
    assert told[-1].margin > 0.9 * steps[-1].margin > 0.5
    # Of two of the four in each step, before its update.
    assert all(step.kept_change == 0.0 for step in steps)
    assert told[0].kept_change == pytest.approx(0.0, abs=1e-5)
    assert min(step.kept_change for step in told) > -0.1


def test_a_weight_of_nothing_keeps_nothing(tmp_path: Path):
    ours, steps = trained(tmp_path / "none", replace(KEEPING, keep_weight=0.0), PRAISED)
    theirs, others = trained(tmp_path / "without", KEEPING, [])
    assert [asdict(step) for step in steps] == [asdict(step) for step in others]
    for name, value in theirs.state().items():
        assert torch.equal(ours.state()[name], value), name


def test_a_training_that_goes_on_keeps_the_same_answers(tmp_path: Path):
    plan = replace(KEEPING, checkpoint_every=3, max_steps=6)
    whole, steps = trained(tmp_path / "whole", plan, PRAISED)
    trained(tmp_path / "killed", replace(plan, max_steps=3), PRAISED)
    checkpoint = torch.load(tmp_path / "killed/checkpoint.pt", weights_only=True)
    checkpoint["plan"] = torch.load(tmp_path / "whole/checkpoint.pt", weights_only=True)["plan"]
    torch.save(checkpoint, tmp_path / "killed/checkpoint.pt")
    resumed, again = trained(tmp_path / "killed", plan, PRAISED)
    assert again == steps
    for name, value in whole.state().items():
        assert torch.equal(resumed.state()[name], value), name
