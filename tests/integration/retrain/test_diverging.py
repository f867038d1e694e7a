"""A training that goes wrong stops in the step in which it does, and leaves the last good checkpoint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from services.retrain.adapters import training
from services.retrain.adapters.encoded import Group
from services.retrain.adapters.objectives.table import OBJECTIVES, Objective
from services.retrain.adapters.subprocess_trainer import SubprocessTrainer
from services.retrain.adapters.training import CHECKPOINT, Trainer, batch_of
from services.retrain.adapters.training_folder import STOPPED, TrainingFolders
from services.retrain.app.runner import is_final
from services.retrain.domain.training import Diverged, Unsuitable
from shared.language.errors import FailedPrecondition
from tests.integration.retrain.tiny import PLAN, pairs, policy
from tests.unit.retrain.cluster import run_of

EACH = replace(PLAN, checkpoint_every=1)


def digest_of(number: int) -> str:
    batch = batch_of(number, 10, PLAN.batch_pairs, PLAN.seed)
    told = json.dumps([asdict(pairs()[index]) for index in batch], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def steps_in(folder: Path) -> int:
    return len(torch.load(folder / CHECKPOINT, weights_only=True)["steps"])


@pytest.mark.parametrize(
    ("factor", "what"),
    [(float("nan"), "the loss is not a finite number"), (1e38, "the gradient is not finite")],
)
def test_what_is_not_finite_stops_before_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, what: str
):
    sound, begun = OBJECTIVES["dpo"], list[int]()

    def broken(rows: Any, plan: Any) -> torch.Tensor:
        """From the third step on; the gradient of a finite loss overflows where it is squared."""
        begun.extend([1] * len(rows))
        loss = sound.loss(rows, plan)
        return loss if len(begun) <= 2 * plan.batch_pairs else (loss - loss.detach()) * factor

    monkeypatch.setattr(training, "OBJECTIVES", {"dpo": Objective(broken, is_anchored=False)})
    with pytest.raises(Diverged, match=what) as stopped:
        Trainer(policy(), pairs(), EACH, tmp_path).run(lambda step: None)
    assert "step 3" in stopped.value.message
    assert f"batch {digest_of(2)}" in stopped.value.message
    assert steps_in(tmp_path) == 2
    assert stopped.value.reason == "TRAINING_DIVERGED"
    assert is_final(stopped.value)


def test_a_policy_that_leaves_the_reference_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # It is 0.1 away in the second step, and 0.4 in the third.
    monkeypatch.setattr(training, "KL_LIMIT", 0.2)
    trained = policy()
    with pytest.raises(Diverged, match="step 3: the answers are ") as stopped:
        Trainer(trained, pairs(), replace(EACH, learning_rate=0.1), tmp_path).run(lambda step: None)
    assert steps_in(tmp_path) == 2
    total, tokens = 0.0, 0
    for index in batch_of(2, 10, PLAN.batch_pairs, PLAN.seed):
        pair = pairs()[index]
        kept = trained.prepare(Group(pair.prompt, (pair.chosen, pair.rejected)))
        for now, before in zip(trained.log_probabilities(kept), kept.references, strict=True):
            total, tokens = total + (now - before).sum().item(), tokens + len(now)
    assert f"{total / tokens:+.1f} nats per token from the reference" in stopped.value.message


@pytest.mark.parametrize(
    "why",
    [Diverged.at(3, "0123456789abcdef", "the loss is not finite"), Unsuitable("no pair differs")],
)
def test_the_run_says_why_a_training_stopped_itself(tmp_path: Path, why: FailedPrecondition):
    folders = TrainingFolders(tmp_path, tmp_path)
    folder = folders.of(run_of(), PLAN)
    (tmp_path / "why.json").write_text(json.dumps({"reason": why.reason, "message": why.message}))
    script = f"cp {tmp_path / 'why.json'} {folder.path / STOPPED}; exit 1"
    trainer = SubprocessTrainer(folders, ("sh", "-c", script))
    with pytest.raises(type(why)) as stopped:
        trainer.train(run_of(), PLAN, lambda *_: None, lambda: False)
    assert stopped.value.message == why.message
    assert is_final(stopped.value)
    folder.ask()
    assert folder.stopped() is None
