"""Training in a child process: the service never loads torch, and a cancelled run stops immediately."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.retrain.domain.snapshots import Snapshot
from services.retrain.domain.training import Trained, TrainingPlan, TrainingStep
from services.retrain.ports import Progress
from shared.language.errors import Cancelled, Internal

_LOOK_EVERY_S = 0.3


@dataclass(frozen=True, slots=True)
class SubprocessTrainer:
    """Each run and objective has a folder under `root`. `command` runs train.py."""

    root: Path
    base_model: Path
    threads: int = 1
    command: Sequence[str] = (sys.executable, "-m", "services.retrain.train")

    def train(
        self,
        run: str,
        snapshot: Snapshot,
        plan: TrainingPlan,
        progress: Progress,
        is_stopped: Callable[[], bool],
    ) -> Trained:
        folder = self.root / run / plan.objective
        folder.mkdir(parents=True, exist_ok=True)
        job = {
            "plan": asdict(plan),
            "snapshot": snapshot.uri,
            "base_model": str(self.base_model),
            "threads": self.threads,
            "parent": os.getpid(),
        }
        if found := _made(folder, job):
            return found
        (folder / "job.json").write_text(json.dumps(job))
        self._run(folder, progress, is_stopped)
        made = _made(folder, job)
        if made is None:
            raise Internal(f"training of {run} ended without writing {folder / 'done.json'}")
        return made

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
    """What an earlier process finished, if it had the same plan and snapshot."""
    done = _json(folder / "done.json")
    if not done or done["plan"] != job["plan"] or done["snapshot"] != job["snapshot"]:
        return None
    steps = tuple(TrainingStep(**step) for step in done["steps"])
    return Trained(str(folder / "adapter"), steps, float(done["seconds"]))


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    return content
