"""Trainings in which the group of people that is worst off counts most."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from services.retrain.adapters.encoded import EncodedPair
from services.retrain.domain.training import Trained
from tests.integration.retrain.tiny import (
    PLAN,
    as_if_killed,
    assert_same_weights,
    pairs,
    trained,
)

MAXMIN = replace(
    PLAN, objective="maxmin", batch_pairs=8, max_steps=4, nll_weight=0.5, least_group_pairs=2
)
pytestmark = pytest.mark.timeout(300)


def opposed() -> list[EncodedPair]:
    """Two of eight want the opposite of what the others want, one is of a group of its own."""
    given = pairs(8)
    turned = [replace(one, chosen=one.rejected, rejected=one.chosen) for one in given[:2]]
    groups = ["few"] * 2 + ["many"] * 5 + ["one"]
    return [replace(one, group=name) for one, name in zip(turned + given[2:], groups, strict=True)]


@pytest.mark.parametrize(("objective", "told"), [("maxmin", {}), ("panacea", {"unknown": 1.0})])
def test_one_group_is_dpo_to_the_byte(
    tmp_path: Path, objective: str, told: dict[str, float]
) -> None:
    given = pairs(8)
    ours, steps = trained(tmp_path / "ours", replace(MAXMIN, objective=objective), given)
    theirs, others = trained(tmp_path / "dpo", replace(MAXMIN, objective="dpo"), given)
    assert_same_weights(ours, theirs)
    for step, other in zip(steps, others, strict=True):
        of_groups = {"group_margins": {"unknown": step.margin}, "preference": told}
        assert asdict(step) == asdict(other) | of_groups


def test_the_worst_off_have_more_than_by_dpo_and_each_group_is_told(tmp_path: Path):
    _, steps = trained(tmp_path / "maxmin", MAXMIN, opposed())
    _, plain = trained(tmp_path / "plain", replace(MAXMIN, group_sharpness=0.0), opposed())
    ours, theirs = (Trained("", tuple(one), 1.0).group_margins for one in (steps, plain))
    assert set(ours) == {"few", "many", "unknown"}
    # In the first step nobody has one, and everyone is in every step.
    assert list(steps[0].group_margins.values()) == pytest.approx([0.0] * 3, abs=1e-4)
    parts = 2 * ours["few"] + 5 * ours["many"] + ours["unknown"]
    assert steps[-1].margin == pytest.approx(parts / 8)
    assert min(ours.values()) > min(theirs.values())


def test_a_training_that_goes_on_ends_with_the_same_weights(tmp_path: Path):
    plan = replace(MAXMIN, checkpoint_every=2)
    whole, steps = trained(tmp_path / "whole", plan, opposed())
    trained(tmp_path / "killed", replace(plan, max_steps=2), opposed())
    as_if_killed(tmp_path / "killed", tmp_path / "whole")
    resumed, again = trained(tmp_path / "killed", plan, opposed())
    assert again == steps
    assert_same_weights(resumed, whole)
