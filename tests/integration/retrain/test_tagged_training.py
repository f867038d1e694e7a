"""A training that reads its pairs with tags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from services.retrain.adapters.ranks import ALONE
from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.adapters.training_folder import TrainingFolders
from services.retrain.domain.selection import Caps, select
from services.retrain.domain.training import TrainingPlan
from services.retrain.train import train_as
from tests.integration.retrain.test_ranks import PLAN
from tests.integration.retrain.test_subprocess_trainer import root, run_on
from tests.unit.retrain.pairs import many

__all__ = ["root"]
pytestmark = pytest.mark.timeout(300)


def made(root: Path, name: str, plan: TrainingPlan) -> dict[str, torch.Tensor]:
    pairs = select(many(12, 2), {}, Caps())
    snapshot = ParquetSnapshots(str(root / "snapshots")).keep(pairs)
    training = TrainingFolders(root / name, root / "base").of(run_on(snapshot), plan)
    training.ask()
    train_as(ALONE, training.path, dict(training.job))
    return load_file(training.path / "adapter" / "adapter_model.safetensors")


def test_tags_are_read_in_the_share_that_is_set(root: Path) -> None:
    plain = replace(PLAN, max_steps=2)
    by_dpo = made(root, "dpo", plain)
    untagged = made(root, "untagged", replace(plain, objective="cpo", tagged_share=0.0))
    tagged = made(root, "tagged", replace(plain, objective="cpo", tagged_share=1.0))
    as_a_stage = replace(plain, objective="cpo", tagged_share=1.0, max_steps=1)
    staged = made(root, "staged", replace(plain, tagged_share=1.0, before=(as_a_stage,)))
    assert all(torch.equal(untagged[name], value) for name, value in by_dpo.items())
    for other in (tagged, staged):
        assert not any(torch.equal(other[name], value) for name, value in by_dpo.items())
