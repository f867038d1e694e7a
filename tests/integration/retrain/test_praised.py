"""Trainings that keep the answers that users praised."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from services.retrain.adapters.encoded import Group
from services.retrain.adapters.objectives.kept import lost
from services.retrain.adapters.objectives.rows import Scored
from services.retrain.adapters.policy import LoraPolicy
from tests.integration.retrain.tiny import (
    PLAN,
    as_if_killed,
    assert_same_weights,
    pairs,
    trained,
)

KEEPING = replace(PLAN, keep_answers=2, keep_weight=1.0)
# Answers as those that the pairs teach away from, to other prompts.
PRAISED = [Group(one.prompt, (one.rejected,)) for one in pairs(14)[10:]]
pytestmark = pytest.mark.timeout(300)


def losses(of: LoraPolicy) -> list[float]:
    """Of each praised answer, in nats per token."""
    found = []
    with torch.no_grad():
        for prepared in map(of.prepare, PRAISED):
            (reference,), (now,) = prepared.references, of.log_probabilities(prepared)
            found.append(lost(Scored(now, reference)).item())
    return found


def test_what_is_praised_is_lost_without_being_kept_and_stays_with_it(tmp_path: Path):
    without, steps = trained(tmp_path / "without", KEEPING, pairs())
    kept, told = trained(tmp_path / "kept", KEEPING, pairs(), PRAISED)
    assert min(losses(without)) > 0.25
    assert max(losses(kept)) < 0.05
    # The wish is learnt all the same.
    assert told[-1].margin > 0.85 * steps[-1].margin > 0.8
    # Of two of the four in each step, before its update.
    assert all(step.praise_lost == 0.0 for step in steps)
    assert told[0].praise_lost == 0.0 < told[1].praise_lost
    assert max(step.praise_lost for step in told) < 0.05


def test_a_weight_of_nothing_keeps_nothing(tmp_path: Path):
    ours, steps = trained(tmp_path / "none", replace(KEEPING, keep_weight=0.0), pairs(), PRAISED)
    theirs, others = trained(tmp_path / "without", KEEPING, pairs())
    assert [asdict(step) for step in steps] == [asdict(step) for step in others]
    assert_same_weights(ours, theirs)


def test_a_training_that_goes_on_keeps_the_same_answers(tmp_path: Path):
    plan = replace(KEEPING, checkpoint_every=3, max_steps=6)
    whole, steps = trained(tmp_path / "whole", plan, pairs(), PRAISED)
    trained(tmp_path / "killed", replace(plan, max_steps=3), pairs(), PRAISED)
    as_if_killed(tmp_path / "killed", tmp_path / "whole")
    resumed, again = trained(tmp_path / "killed", plan, pairs(), PRAISED)
    assert again == steps
    assert_same_weights(resumed, whole)
