"""Training in a child process: the service never loads torch, and a cancelled run stops immediately."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from services.retrain.adapters.training_folder import TrainingFolder, TrainingFolders
from services.retrain.domain.runs import Run
from services.retrain.domain.training import Trained, TrainingPlan
from services.retrain.ports import Progress, never
from shared.language.errors import Cancelled, Internal

_LOOK_EVERY_S = 0.3


@dataclass(frozen=True, slots=True)
class SubprocessTrainer:
    """`command` runs train.py."""

    folders: TrainingFolders
    command: Sequence[str] = (sys.executable, "-m", "services.retrain.train")

    def train(
        self,
        run: Run,
        plan: TrainingPlan,
        progress: Progress,
        is_stopped: Callable[[], bool],
        gives_way: Callable[[], bool] = never,
    ) -> Trained:
        training = self.folders.of(run, plan)
        if found := training.made():
            return found
        training.ask(parent=os.getpid())
        self._run(training, progress, is_stopped)
        made = training.made()
        if made is None:
            raise Internal(
                f"training of {run.run} ended without writing {training.path / 'done.json'}"
            )
        return made

    def cancel(self, run: str) -> None:
        """A child process never outlives `train`."""

    def keep_only(self, runs: Collection[str]) -> None:
        self.folders.keep_only(runs)

    def _run(
        self, training: TrainingFolder, progress: Progress, is_stopped: Callable[[], bool]
    ) -> None:
        threads = str(self.folders.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
        said = training.path / "log.txt"
        with said.open("ab") as log:
            child = subprocess.Popen(  # noqa: S603
                [*self.command, "--job", str(training.job_file)],
                stdout=log,
                stderr=log,
                env=environment,
            )
        try:
            _watch(child, training, progress, is_stopped)
        finally:
            child.kill()
            child.wait()
        if child.returncode:
            if stopped := training.stopped():
                raise stopped
            tail = said.read_text(errors="replace")[-500:]
            raise Internal(f"training ended with {child.returncode}: {tail}")


def _watch(
    child: subprocess.Popen[bytes],
    training: TrainingFolder,
    progress: Progress,
    is_stopped: Callable[[], bool],
) -> None:
    shown = None
    while child.poll() is None:
        if is_stopped():
            raise Cancelled("training was stopped")
        now = training.progress()
        if now and now != shown:
            shown = now
            progress(*now)
        time.sleep(_LOOK_EVERY_S)
