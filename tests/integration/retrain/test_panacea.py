"""Trainings whose adapter has a part for each group of people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from services.retrain.adapters.encoded import EncodedPair, Group
from services.retrain.adapters.objectives.dpo import dpo
from services.retrain.adapters.objectives.panacea import drawn, grid
from services.retrain.adapters.policy import LoraPolicy
from services.retrain.adapters.prepared import KeptRow
from services.retrain.adapters.ranks import ALONE
from services.retrain.adapters.references import NoReferences
from services.retrain.adapters.training import Trainer
from services.retrain.adapters.training_stages import train_in_stages
from services.retrain.domain.training import TrainingPlan, TrainingStep, Unsuitable
from tests.integration.retrain.test_maxmin import MAXMIN, opposed
from tests.integration.retrain.tiny import (
    PLAN,
    as_if_killed,
    assert_same_weights,
    merged,
    moved,
    naive,
    pairs,
    policy,
    trained,
)

PANACEA = replace(MAXMIN, objective="panacea")
NAMES = ("few", "many", "unknown")
pytestmark = pytest.mark.timeout(300)


def settled(folder: Path, plan: TrainingPlan = PANACEA) -> tuple[LoraPolicy, list[TrainingStep]]:
    folder.mkdir()
    found = policy()
    steps = train_in_stages(
        found, opposed(), plan, folder, lambda _: NoReferences(), lambda *_: None, ALONE
    )
    return found, steps


def test_the_gradient_is_that_of_the_weighed_product():
    """Of a plain model whose weights are W + scale * B diag(1, 1, weights) A."""
    weights = (0.25, 0.75)
    ours, pair = moved(), pairs(1)[0]
    down = {name: p for name, p in ours.peft.named_parameters() if ".lora_A." in name}
    before = {name: p.detach().clone() for name, p in down.items()}
    row = KeptRow(pair, (ours.prepare(_group(pair)),))
    with ours.preferring(weights):
        scored = row.scored(ours)
        dpo([scored], PLAN.beta)[0].backward()
        model, leaves = merged(ours)  # of the adapter as it acts
    logs = [naive(model, pair.prompt, one) for one in (pair.chosen, pair.rejected)]
    for one, log_p in zip(scored.groups[0], logs, strict=True):
        torch.testing.assert_close(one.policy, log_p, atol=1e-5, rtol=1e-5)
    references = [one.reference.sum() for one in scored.groups[0]]
    margin = PLAN.beta * (logs[0].sum() - references[0] - logs[1].sum() + references[1])
    wanted = torch.autograd.grad(-torch.nn.functional.logsigmoid(margin), leaves)
    names = [name for name, p in ours.peft.named_parameters() if p.requires_grad]
    column = torch.tensor([1.0, 1.0, *weights])[:, None]
    for name, found, plain in zip(names, ours.parameters, wanted, strict=True):
        assert found.grad is not None
        by_chain = plain * column if name in down else plain
        torch.testing.assert_close(found.grad, by_chain, atol=1e-6, rtol=1e-4)
    for name, was in before.items():
        assert torch.equal(down[name], was)


def test_what_is_settled_is_what_it_was_with_these_weights():
    ours, pair = moved(), pairs(1)[0]
    row = KeptRow(pair, (ours.prepare(_group(pair)),))
    with torch.no_grad(), ours.preferring((1.0, 0.0)):
        within = row.scored(ours).chosen.policy
    ours.settle((1.0, 0.0))
    with torch.no_grad():
        assert torch.equal(row.scored(ours).chosen.policy, within)
    for name, p in ours.peft.named_parameters():
        if ".lora_A." in name:  # the second group's part is gone
            assert not p[-1].any() and p[-2].all()


def test_the_weights_that_are_handed_over_leave_the_worst_off_best_off(tmp_path: Path):
    ours, steps = settled(tmp_path / "ours")
    assert [dict(zip(NAMES, drawn(3, n, 0), strict=True)) for n in range(3)] == [
        step.preference for step in steps[:-1]
    ]
    chosen = tuple(steps[-1].preference.values())
    assert tuple(steps[-1].preference) == NAMES and chosen in grid(3)
    # The same training, looked at with each of the weights.
    again, worst = policy(), {}
    Trainer(again, opposed(), PANACEA, tmp_path / "ours").run(lambda _: None)
    rows = [KeptRow(pair, (again.prepare(_group(pair)),)) for pair in opposed()]
    for weights in grid(3):
        with torch.no_grad(), again.preferring(weights):
            losses = dpo([row.scored(again) for row in rows], PANACEA.beta)
        worst[weights] = max(losses[:2].mean(), losses[2:7].mean(), losses[7]).item()
    assert worst[chosen] == min(worst.values()) < worst[grid(3)[0]]
    again.settle(chosen)
    assert_same_weights(again, ours)


def test_a_training_that_goes_on_ends_with_the_same_weights(tmp_path: Path):
    plan = replace(PANACEA, checkpoint_every=2)
    whole, steps = settled(tmp_path / "whole", plan)
    settled(tmp_path / "killed", replace(plan, max_steps=2))
    as_if_killed(tmp_path / "killed", tmp_path / "whole")
    resumed = policy()
    again = train_in_stages(
        resumed, opposed(), plan, tmp_path / "killed", lambda _: NoReferences(), lambda *_: None
    )
    assert again == steps
    assert_same_weights(resumed, whole)


def test_more_groups_than_ranks_are_refused(tmp_path: Path):
    given = [replace(one, group=f"g{n % 4}") for n, one in enumerate(pairs(8))]
    with pytest.raises(Unsuitable, match="4 groups of people need an adapter of a greater rank"):
        trained(tmp_path / "many", PANACEA, given)


def _group(pair: EncodedPair) -> Group:
    return Group(pair.prompt, (pair.chosen, pair.rejected))
