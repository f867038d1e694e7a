"""References are computed once for each base model, prompt and answer, and give the same training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from services.retrain.adapters.encoded import Group
from services.retrain.adapters.policy import LoraPolicy, LoraShape
from services.retrain.adapters.references import StoredReferences
from services.retrain.adapters.training import Trainer
from tests.integration.retrain.tiny import PLAN, pairs, tiny

GROUP = Group((1, 2, 3), ((4, 5), (6,)))
FOUND = (torch.tensor([-1.5, -0.25]), torch.tensor([-3.0]))


def policy(references: StoredReferences) -> LoraPolicy:
    return LoraPolicy(tiny(), LoraShape(rank=4, alpha=8, layers=2), 1, references)


def test_they_are_known_by_model_prompt_and_answer(tmp_path: Path):
    kept = StoredReferences(tmp_path, "model")
    assert kept.of(GROUP) is None
    kept.keep(GROUP, FOUND)
    again = StoredReferences(tmp_path, "model")
    assert [one.tolist() for one in again.of(GROUP) or ()] == [[-1.5, -0.25], [-3.0]]
    # As the control asks for it, which is trained on the chosen answer alone.
    assert [one.tolist() for one in again.of(Group((1, 2, 3), ((6,),))) or ()] == [[-3.0]]
    assert again.of(Group((1, 2), ((4, 5),))) is None
    assert again.of(Group((1, 2, 3), ((4, 5), (7,)))) is None
    assert StoredReferences(tmp_path, "other").of(GROUP) is None


def test_one_that_lost_its_content_is_computed_anew(tmp_path: Path):
    kept = StoredReferences(tmp_path, "model")
    kept.keep(GROUP, FOUND)
    for file in tmp_path.iterdir():
        file.write_bytes(b"")
    assert kept.of(GROUP) is None


def test_a_second_training_computes_none_and_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    kept = StoredReferences(tmp_path / "references", "model")
    first = policy(kept)
    steps = Trainer(first, pairs(), PLAN, tmp_path / "first").run(lambda step: None)

    def refused(group: Group, found: object) -> None:
        raise AssertionError(group)

    monkeypatch.setattr(kept, "keep", refused)
    second = policy(kept)
    assert Trainer(second, pairs(), PLAN, tmp_path / "second").run(lambda step: None) == steps
    for name, value in first.state().items():
        torch.testing.assert_close(second.state()[name], value, atol=0, rtol=0)
