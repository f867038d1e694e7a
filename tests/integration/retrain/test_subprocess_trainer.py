"""Training in a child process: done once, cancelled at once, resumed after a kill -9."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from infra.local.settings import load
from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.adapters.subprocess_trainer import SubprocessTrainer
from services.retrain.adapters.training_folder import TrainingFolders
from services.retrain.domain.rules import Rules, Thresholds
from services.retrain.domain.runs import Run
from services.retrain.domain.selection import Caps, select
from services.retrain.domain.snapshots import Snapshot
from services.retrain.domain.training import TrainingPlan
from shared.language.errors import Cancelled, FailedPrecondition
from shared.language.known_answers import KNOWN_ANSWERS
from tests.unit.retrain.cluster import run_of
from tests.unit.retrain.pairs import many

PLAN = TrainingPlan(rank=2, alpha=4, layers=1, max_steps=12, stop_margin=99.0, batch_pairs=4)
# Five to seven child processes import torch here: seconds each on a free machine.
pytestmark = pytest.mark.timeout(600)
# A service of its own that never imports torch, as the real one.
PARENT = """
import sys
from pathlib import Path
from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.adapters.subprocess_trainer import SubprocessTrainer
from services.retrain.adapters.training_folder import TrainingFolders
from services.retrain.domain.training import TrainingPlan
from services.retrain.domain.selection import Caps
from services.retrain.domain.selection import select
from tests.integration.retrain.test_subprocess_trainer import run_on
from tests.unit.retrain.pairs import many
root = Path(sys.argv[1])
snapshot = ParquetSnapshots(str(root / "snapshots")).keep(select(many(12, 2), {}, Caps()))
plan = TrainingPlan(rank=2, alpha=4, layers=1, max_steps=12, stop_margin=99.0, batch_pairs=4)
trainer = SubprocessTrainer(TrainingFolders(root / "runs", root / "base"))
run = run_on(snapshot)
trainer.train(run, plan, lambda share, words: None, lambda: False)
"""


def trainer_of(root: Path) -> SubprocessTrainer:
    return SubprocessTrainer(TrainingFolders(root / "runs", root / "base"))


def snapshot_of(root: Path) -> Snapshot:
    return ParquetSnapshots(str(root / "snapshots")).keep(select(many(12, 2), {}, Caps()))


def run_on(snapshot: Snapshot, base_model: str = "") -> Run:
    return replace(run_of(), snapshot=snapshot, rules=Rules(base_model=base_model))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """With a tiny base model that has the real one's tokenizer."""
    real = load().base_model
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    model: Any = LlamaForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(tmp_path / "base")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(real / name, tmp_path / "base" / name)
    return tmp_path


def until(condition: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def digest(folder: str | Path) -> str:
    weights = Path(folder) / "adapter_model.safetensors"
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def known_answers(folder: str) -> str:
    return (Path(folder) / KNOWN_ANSWERS).read_text()


def test_trained_once_shown_on_the_way_and_not_again(root: Path):
    shown: list[tuple[float, str]] = []
    rules = Rules(thresholds=Thresholds(strengths=(0.5, 1.0)))
    trainer, run = trainer_of(root), replace(run_on(snapshot_of(root)), rules=rules)
    made = trainer.train(run, PLAN, lambda *p: shown.append(p), lambda: False)
    assert len(made.steps) == 12
    assert made.steps[0].margin == pytest.approx(0.0, abs=0.05)
    started = time.monotonic()
    assert trainer.train(run, PLAN, lambda *p: None, lambda: False) == made
    assert time.monotonic() - started < 0.5
    sft = replace(PLAN, objective="sft")
    control = trainer.train(run, sft, lambda *p: None, lambda: False)
    assert digest(control.adapter_path) != digest(made.adapter_path)
    # Each strength has an adapter of its own, beside it what it answers. A control has none.
    whole, half = made.adapter_at(1.0), made.adapter_at(0.5)
    assert (whole, half) == (made.adapter_path, f"{made.adapter_path}@0.5")
    assert digest(half) != digest(whole)
    assert known_answers(half) != known_answers(whole)
    assert not Path(control.adapter_at(0.5)).exists()


def test_a_cancelled_training_stops_within_seconds(root: Path):
    plan, progress = replace(PLAN, max_steps=100_000), root / "runs/run-1/dpo/progress.json"
    stopped: list[float] = []

    def is_stopped() -> bool:
        if progress.exists():
            stopped.append(time.monotonic())
        return bool(stopped)

    with pytest.raises(Cancelled):
        trainer_of(root).train(run_on(snapshot_of(root)), plan, lambda *p: None, is_stopped)
    assert time.monotonic() - stopped[0] < 3


def test_a_service_killed_takes_its_child_with_it_and_the_next_goes_on(root: Path, tmp_path: Path):
    whole = SubprocessTrainer(TrainingFolders(root / "whole", root / "base")).train(
        run_on(snapshot_of(root)), PLAN, lambda *p: None, lambda: False
    )
    folder = root / "runs/run-1/dpo"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(root)])
    until((folder / "checkpoint.pt").exists)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not _trains(folder), 5)
    resumed = trainer_of(root).train(
        run_on(snapshot_of(root)), PLAN, lambda *p: None, lambda: False
    )
    assert resumed.steps == whole.steps
    assert digest(resumed.adapter_path) == digest(whole.adapter_path)


def _trains(folder: Path) -> bool:
    """Whether any process still trains in this folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(folder) in line and "services.retrain.train" in line:
                return True
    return False


def test_a_run_is_trained_from_its_policys_base_model_and_not_anew_for_the_same(root: Path) -> None:
    shutil.copytree(root / "base", root / "other")
    bases = {"small": root / "base", "other": root / "other"}
    trainer = SubprocessTrainer(TrainingFolders(root / "runs", root / "base", bases=bases))
    short = replace(PLAN, max_steps=1)

    def base_of(name: str) -> object:
        run = run_on(snapshot_of(root), name)
        made = trainer.train(run, short, lambda *p: None, lambda: False)
        config = Path(made.adapter_path) / "adapter_config.json"
        return json.loads(config.read_text())["base_model_name_or_path"]

    assert base_of("other") == str(root / "other")
    assert base_of("small") == base_of("") == str(root / "base")


def test_a_base_model_without_weights_is_named_before_anything_is_made(tmp_path: Path) -> None:
    bases = {"small": tmp_path}
    trainer = SubprocessTrainer(TrainingFolders(tmp_path / "runs", tmp_path, bases=bases))
    with pytest.raises(FailedPrecondition, match="TRIMTAB_BASE_MODELS") as refused:
        trainer.train(run_on(snapshot_of(tmp_path), "large"), PLAN, lambda *p: None, lambda: False)
    assert refused.value.reason == "NO_SUCH_BASE"
    assert not (tmp_path / "runs").exists()


def test_what_training_left_of_older_runs_goes(tmp_path: Path) -> None:
    trainer = SubprocessTrainer(TrainingFolders(tmp_path / "runs", tmp_path))
    trainer.keep_only({"run-1"})
    for run in ("run-1", "run-2"):
        (tmp_path / "runs" / run / "dpo").mkdir(parents=True)
        (tmp_path / "runs" / run / "dpo" / "checkpoint.pt").write_bytes(b"weights")
    trainer.keep_only({"run-2", "run-3"})
    assert [one.name for one in (tmp_path / "runs").iterdir()] == ["run-2"]
