"""Several processes train one adapter together: the one that a single process trains, but for rounding."""

import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file

from services.retrain.adapters.policy import LoraPolicy, LoraShape, load_model
from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.adapters.training_folder import TrainingFolder, TrainingFolders
from services.retrain.domain.selection import Caps, select
from services.retrain.domain.training import PastPolicy, Trained, TrainingPlan
from tests.integration.retrain.test_subprocess_trainer import PLAN as LONG
from tests.integration.retrain.test_subprocess_trainer import root, run_on
from tests.unit.retrain.pairs import TRAINED, many, praised

__all__ = ["root"]
PLAN = replace(LONG, max_steps=6)
# Eleven trainings, of which six have two processes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def trained(
    folders: TrainingFolders,
    root: Path,
    plan: TrainingPlan,
    processes: int,
    history: tuple[PastPolicy, ...] = (),
) -> TrainingFolder:
    pairs = [replace(one, groups=("longer",) * (n % 3 == 0)) for n, one in enumerate(many(12, 2))]
    thanks = tuple(praised(80 + n, TRAINED[80 + n]) for n in range(3))
    selection = replace(select(pairs, {}, Caps()), praised=thanks)
    snapshot = ParquetSnapshots(str(root / "snapshots")).keep(selection)
    training = folders.of(replace(run_on(snapshot), history=history), plan)
    training.ask()
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*(start if processes > 1 else ()), "-m", "services.retrain.train"]
    said = subprocess.run(
        [sys.executable, *command, "--job", str(training.job_file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert said.returncode == 0, said.stderr
    for rank in range(processes):
        assert f"process {rank + 1} of {processes} trains on cpu" in said.stdout
    return training


def weights(training: TrainingFolder) -> dict[str, Any]:
    return dict(load_file(training.path / "adapter" / "adapter_model.safetensors"))


def same(together: TrainingFolder, alone: TrainingFolder, plan: TrainingPlan) -> Trained:
    one, two = alone.made(), together.made()
    assert one is not None and two is not None
    assert len(two.steps) == len(one.steps) == plan.max_steps
    for ours, theirs in zip(two.steps, one.steps, strict=True):
        found, wanted = asdict(ours), asdict(theirs)
        for name in ("group_margins", "preference"):
            assert found.pop(name) == pytest.approx(wanted.pop(name), abs=2e-3)
        assert found == pytest.approx(wanted, abs=2e-3)
    for name, tensor in weights(alone).items():
        assert weights(together)[name] == pytest.approx(tensor, abs=1e-4), name
    return two


GROUPED = ("maxmin", "panacea")


@pytest.mark.parametrize("objective", ["kto", "maxmin", "panacea", "ppo_max"])
def test_a_loss_over_the_whole_step_is_that_of_one_process(root: Path, objective: str):
    """Each process has some of the rows that the others' losses, or their critic, depend on."""
    plan = replace(PLAN, objective=objective, rank=4, max_steps=2, least_group_pairs=2)
    alone = trained(TrainingFolders(root / "one", root / "base"), root, plan, 1)
    two = same(trained(TrainingFolders(root / "two", root / "base"), root, plan, 2), alone, plan)
    assert set(two.group_margins) == ({"longer", "unknown"} if objective in GROUPED else set())
    assert set(two.preference) == ({"longer", "unknown"} if objective == "panacea" else set())


def champion_of(root: Path) -> PastPolicy:
    """Further from the base model than a training of a few steps."""
    policy, draw = LoraPolicy(load_model(root / "base"), LoraShape(2, 4, 2)), torch.Generator()
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw.manual_seed(1)))
    policy.save(root / "champion", str(root / "base"))
    return PastPolicy("assistant-v1", str(root / "champion"))


def test_champions_are_asked_once_by_all_processes_together(root: Path):
    """And by none when a training goes on."""
    plan, history = replace(PLAN, objective="mnpo", checkpoint_every=2), (champion_of(root),)
    alone = trained(TrainingFolders(root / "one", root / "base"), root, plan, 1, history)
    folders = TrainingFolders(root / "two", root / "base")
    together = trained(folders, root, plan, 2, history)
    two = same(together, alone, plan)
    references = sorted((root / "two/run-1/references").iterdir())
    # Of each of 12 pairs two answers, under the reference and under the champion; and of what is praised.
    assert len(references) == 48 + 3
    asked, before = [one.stat().st_mtime_ns for one in references], weights(together)
    (together.path / "done.json").unlink()
    resumed = trained(folders, root, plan, 2, history).made()
    assert resumed is not None and resumed.steps == two.steps
    assert [one.stat().st_mtime_ns for one in references] == asked
    for name, tensor in weights(together).items():
        assert (before[name] == tensor).all(), name
    free = trained(TrainingFolders(root / "free", root / "base"), root, plan, 1).made()
    assert free is not None and free.steps[0].loss != pytest.approx(two.steps[0].loss, rel=0.01)


def test_two_processes_train_what_one_trains_and_go_on_from_a_checkpoint(root: Path):
    alone = trained(TrainingFolders(root / "one", root / "base"), root, PLAN, 1)
    folders = TrainingFolders(root / "two", root / "base")
    together = trained(folders, root, PLAN, 2)
    two = same(together, alone, PLAN)
    # As if both had been killed after the checkpoint of the fifth step.
    before = weights(together)
    (together.path / "done.json").unlink()
    resumed = trained(folders, root, PLAN, 2).made()
    assert resumed is not None and resumed.steps == two.steps
    for name, tensor in weights(together).items():
        assert (before[name] == tensor).all(), name
