"""A training of several stages: each is held to what the one before left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from services.retrain.adapters.encoded import Group
from services.retrain.adapters.references import NoReferences, StoredReferences
from services.retrain.adapters.training_stages import train_in_stages
from services.retrain.domain.training import TrainingStep
from tests.integration.retrain.tiny import PLAN, moved, pairs, policy

SFT = replace(PLAN, objective="sft", max_steps=4)
STAGED = replace(PLAN, max_steps=3, nll_weight=0.0, before=(SFT,))
GROUP = Group((5, 9, 33), ((7, 8, 40), (11,)))


def nowhere(adapter: str) -> NoReferences:
    return NoReferences()


def test_a_stages_reference_is_the_policy_as_it_was_when_the_stage_began():
    policy = moved()
    begun = [one.detach() for one in policy.log_probabilities(policy.prepare(GROUP))]
    policy.begin_stage(nowhere)
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter.add_(0.1)
    prepared = policy.prepare(GROUP)
    now = policy.log_probabilities(prepared)
    for reference, was, one in zip(prepared.references, begun, now, strict=True):
        torch.testing.assert_close(reference, was, atol=1e-6, rtol=0)
        assert (one - was).abs().max() > 0.01


def test_the_second_stage_begins_at_its_own_reference_with_what_the_first_learnt(tmp_path: Path):
    told: list[tuple[int, str]] = []

    def report(number: int, step: TrainingStep) -> None:
        told.append((number, STAGED.stages[number - 1].objective))

    steps = train_in_stages(policy(), pairs(), STAGED, tmp_path, nowhere, report)
    assert told == [(1, "sft")] * 4 + [(2, "dpo")] * 3
    assert [(one.step, one.stage) for one in steps] == [
        *((n, 1) for n in (1, 2, 3, 4)),
        *((n, 2) for n in (5, 6, 7)),
    ]
    first, second = steps[:4], steps[4:]
    assert first[-1].chosen_change > 0.5
    assert second[0].margin == pytest.approx(0.0, abs=1e-4)
    assert second[0].chosen_change == pytest.approx(0.0, abs=1e-4)
    assert second[0].nll < first[0].nll - 0.1  # it goes on from there, not from the base model
    assert second[-1].margin > 0.05


def test_references_of_a_stage_are_kept_by_what_the_adapter_was(tmp_path: Path):
    asked: list[str] = []

    def kept(adapter: str) -> StoredReferences:
        asked.append(adapter)
        return StoredReferences(tmp_path / "references", adapter)

    for folder in ("first", "again", "other"):
        (tmp_path / folder).mkdir()
        plan = replace(STAGED, before=(replace(SFT, max_steps=5),)) if folder == "other" else STAGED
        train_in_stages(policy(), pairs(), plan, tmp_path / folder, kept, lambda *_: None)
    assert asked[0] == asked[1] != asked[2]


def test_a_finished_stage_is_not_trained_again(tmp_path: Path):
    first = train_in_stages(policy(), pairs(), STAGED, tmp_path, nowhere, lambda *_: None)
    told: list[int] = []
    again = train_in_stages(
        policy(), pairs(), STAGED, tmp_path, nowhere, lambda number, _: told.append(number)
    )
    assert told == [2, 2, 2]
    assert again == first
