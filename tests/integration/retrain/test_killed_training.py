"""Twenty SIGKILLs at random moments of trainings change nothing of what they end with."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from services.retrain.adapters.policy import LoraPolicy, LoraShape
from services.retrain.adapters.references import StoredReferences
from services.retrain.adapters.training_stages import train_in_stages
from services.retrain.domain.training import TrainingPlan
from tests.integration.retrain.tiny import PLAN, pairs, tiny

KILLS = 20
LONG = replace(PLAN, max_steps=30, checkpoint_every=2)
STAGED = replace(LONG, max_steps=15, before=(replace(LONG, objective="sft", max_steps=15),))
# Each training goes on in a process of its own, which is forked: only the first imports torch.
FORK = multiprocessing.get_context("fork")
pytestmark = pytest.mark.timeout(300)


def kept(folder: Path, adapter: str) -> StoredReferences:
    return StoredReferences(folder / "references", f"tiny {adapter}")


def train(folder: Path, plan: TrainingPlan) -> None:
    torch.set_num_threads(1)
    references = StoredReferences(folder / "references", "tiny")
    policy = LoraPolicy(tiny(), LoraShape(rank=4, alpha=8, layers=2), 1, references)
    train_in_stages(policy, pairs(), plan, folder, partial(kept, folder), lambda *_: None)
    policy.save(folder / "adapter", "base")
    (folder / "done").touch()


def trained_for(folder: Path, plan: TrainingPlan, seconds: float | None) -> bool:
    """Whether the training ended; after `seconds` it is killed."""
    folder.mkdir(exist_ok=True)
    child = FORK.Process(target=train, args=(folder, plan))
    child.start()
    child.join(seconds)
    child.kill()
    child.join()
    return (folder / "done").exists()


def digest(folder: Path) -> str:
    weights = folder / "adapter" / "adapter_model.safetensors"
    return hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.parametrize("plan", [LONG, STAGED], ids=["one_stage", "staged"])
def test_twenty_kills_give_the_adapter_of_an_undisturbed_training(
    tmp_path: Path, plan: TrainingPlan
):
    began = time.monotonic()
    assert trained_for(tmp_path / "whole", plan, None)
    whole, took = digest(tmp_path / "whole"), time.monotonic() - began
    draw, ended = random.Random(0), 0
    for _ in range(KILLS):
        if trained_for(tmp_path / str(ended), plan, draw.uniform(0, took / 4)):
            assert digest(tmp_path / str(ended)) == whole
            ended += 1
    last = tmp_path / str(ended)
    was_begun = any(last.rglob("checkpoint.pt"))
    assert trained_for(last, plan, None)
    assert digest(last) == whole
    assert ended or was_begun
