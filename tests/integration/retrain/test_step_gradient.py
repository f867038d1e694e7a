"""One pass or two, the gradient of a step is the same, however its rows are divided."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from services.retrain.adapters.critic import worths
from services.retrain.adapters.objectives.sft import nll
from services.retrain.adapters.objectives.table import OBJECTIVES, Objective
from services.retrain.adapters.policy import LoraPolicy
from services.retrain.adapters.prepared import KeptRow
from services.retrain.adapters.ranks import ALONE
from services.retrain.adapters.step_gradient import StepGradient
from tests.integration.retrain.tiny import PLAN, pairs, policy


@pytest.fixture
def moved() -> LoraPolicy:
    """One that is no longer the reference."""
    found, draw = policy(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in found.parameters:
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    return found


def gradients(policy: LoraPolicy, objective: Objective, *shares: list[int]) -> list[torch.Tensor]:
    """`shares`: the places of the rows that are given at once, of a step of four."""
    given = pairs(4)
    groups = [objective.groups(pair, given[n - 1]) for n, pair in enumerate(given)]
    rows = {n: KeptRow(given[n], tuple(map(policy.prepare, groups[n]))) for n in range(4)}
    if objective.takes_critic:
        told = worths(list(rows.values()), PLAN.reward_clip)
        rows = {n: replace(row, worth=told[n]) for n, row in rows.items()}
    policy.peft.zero_grad()
    for share in shares:
        StepGradient(policy, objective, PLAN, ALONE).of({place: rows[place] for place in share}, 4)
    return [p.grad.clone() for p in policy.parameters if p.grad is not None]


def test_two_passes_give_the_gradient_of_one(moved: LoraPolicy):
    dpo = OBJECTIVES["dpo"]
    once = gradients(moved, dpo, [0, 1, 2, 3])
    twice = gradients(moved, replace(dpo, is_whole_batch=True), [0, 1, 2, 3])
    assert len(once) == len(moved.parameters)
    assert max(one.abs().max().item() for one in once) > 0.01
    for ours, theirs in zip(twice, once, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["aot", "aot_unpaired", "kto", "maxmin"])
def test_a_loss_over_the_step_gets_the_gradient_of_one_graph(moved: LoraPolicy, name: str):
    objective = OBJECTIVES[name]
    found = gradients(moved, objective, [0, 1, 2, 3])
    given = pairs(4)
    groups = [objective.groups(pair, given[n - 1]) for n, pair in enumerate(given)]
    kept = [KeptRow(given[n], tuple(map(moved.prepare, groups[n]))) for n in range(4)]
    moved.peft.zero_grad()
    rows = [one.scored(moved) for one in kept]
    whole = objective.loss(rows, PLAN) + PLAN.nll_weight * nll(rows)
    for ours, theirs in zip(
        found, torch.autograd.grad(whole.mean(), moved.parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


BY_ROW = [name for name, objective in OBJECTIVES.items() if not objective.is_whole_batch]


@pytest.mark.parametrize("name", BY_ROW)
def test_the_gradient_does_not_depend_on_how_the_rows_are_divided(moved: LoraPolicy, name: str):
    whole = gradients(moved, OBJECTIVES[name], [0, 1, 2, 3])
    parts = gradients(moved, OBJECTIVES[name], [3], [1, 0], [2])
    for ours, theirs in zip(parts, whole, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
