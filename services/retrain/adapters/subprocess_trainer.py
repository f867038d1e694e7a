"""Training in a child process: the service never loads torch, and a cancelled run stops immediately."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from services.retrain.domain.runs import Run
from services.retrain.domain.training import Trained, TrainingPlan, TrainingStep
from services.retrain.ports import Progress
from shared.language.errors import Cancelled, FailedPrecondition, Internal

_LOOK_EVERY_S = 0.3
# What a finished training must have been asked for to be the one that is asked for now.
_SAME = ("plan", "snapshot", "base_model")


@dataclass(frozen=True, slots=True)
class SubprocessTrainer:
    """Each run and objective has a folder under `root`. `command` runs train.py. `bases`: where the weights of
    base models are, by served name; a run that names none is trained from `base_model`."""

    root: Path
    base_model: Path
    threads: int = 1
    command: Sequence[str] = (sys.executable, "-m", "services.retrain.train")
    bases: Mapping[str, Path] = field(default_factory=dict)

    def train(
        self,
        run: Run,
        plan: TrainingPlan,
        progress: Progress,
        is_stopped: Callable[[], bool],
    ) -> Trained:
        base = self._base(run)
        folder = self.root / run.run / plan.objective
        folder.mkdir(parents=True, exist_ok=True)
        job = {
            "plan": asdict(plan),
            "snapshot": run.snapshot.uri if run.snapshot else "",
            "base_model": str(base),
            "threads": self.threads,
            "parent": os.getpid(),
        }
        if found := _made(folder, job):
            return found
        (folder / "job.json").write_text(json.dumps(job))
        self._run(folder, progress, is_stopped)
        made = _made(folder, job)
        if made is None:
            raise Internal(f"training of {run.run} ended without writing {folder / 'done.json'}")
        return made

    def _base(self, run: Run) -> Path:
        name = run.rules.base_model
        found = self.bases.get(name) if name else self.base_model
        if found is None:
            raise FailedPrecondition(
                f"there are no weights for the base model {name!r}: name their folder in TRIMTAB_BASE_MODELS",
                reason="NO_SUCH_BASE",
            )
        return found

    def keep_only(self, runs: Collection[str]) -> None:
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            if folder.name not in runs:
                shutil.rmtree(folder, ignore_errors=True)

    def _run(self, folder: Path, progress: Progress, is_stopped: Callable[[], bool]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads), "HF_HUB_OFFLINE": "1"}
        with (folder / "log.txt").open("ab") as log:
            child = subprocess.Popen(  # noqa: S603
                [*self.command, "--job", str(folder / "job.json")],
                stdout=log,
                stderr=log,
                env=environment,
            )
        try:
            _watch(child, folder, progress, is_stopped)
        finally:
            child.kill()
            child.wait()
        if child.returncode:
            tail = (folder / "log.txt").read_text(errors="replace")[-500:]
            raise Internal(f"training ended with {child.returncode}: {tail}")


def _watch(
    child: subprocess.Popen[bytes],
    folder: Path,
    progress: Progress,
    is_stopped: Callable[[], bool],
) -> None:
    shown = None
    while child.poll() is None:
        if is_stopped():
            raise Cancelled("training was stopped")
        now = _json(folder / "progress.json")
        if now and now != shown:
            shown = now
            progress(float(now["progress"]), str(now["words"]))
        time.sleep(_LOOK_EVERY_S)


def _made(folder: Path, job: dict[str, Any]) -> Trained | None:
    """What an earlier process finished, if it had the same plan, snapshot and base model."""
    done = _json(folder / "done.json")
    if not done or any(done.get(name, job[name]) != job[name] for name in _SAME):
        return None
    steps = tuple(TrainingStep(**step) for step in done["steps"])
    # Those that were finished before an upgrade have no counts.
    counts = done.get("counts", {})
    return Trained(str(folder / "adapter"), steps, float(done["seconds"]), counts)


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    return content
