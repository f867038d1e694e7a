"""What all trainers have in common: a folder for each run and objective, in which job.json says what is to be
trained, and whatever trains (train.py) leaves its progress and its result."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from services.retrain.adapters.past_adapters import bring
from services.retrain.domain.objectives import past_policies
from services.retrain.domain.runs import Run
from services.retrain.domain.training import (
    Diverged,
    PastPolicy,
    Trained,
    TrainingPlan,
    TrainingStep,
    Unsuitable,
)
from shared.encoding.base_models import read_base
from shared.language.errors import FailedPrecondition

# Written by a training that stopped itself.
STOPPED = "stopped.json"
# What a finished training must have been asked for to be the one that is asked for now.
_SAME = ("plan", "snapshot", "base_model", "strengths")


@dataclass(frozen=True, slots=True)
class TrainingFolder:
    """`job`: what job.json says, whoever trains. `past`: the champions it is held to, the newest first."""

    path: Path
    job: Mapping[str, Any]
    past: tuple[PastPolicy, ...] = ()

    @property
    def job_file(self) -> Path:
        return self.path / "job.json"

    @property
    def digest(self) -> str:
        """Of what is to be trained."""
        return hashlib.sha256(json.dumps(self.job, sort_keys=True).encode()).hexdigest()

    def ask(self, **more: object) -> None:
        """Writes job.json, with `more` for the process that reads it. What another training said of its
        progress goes, and why a former attempt stopped. Raises FailedPrecondition (NO_SUCH_ADAPTER,
        FOREIGN_BASE) for a champion of `past` whose adapter is not to be had."""
        for past, told in zip(self.past, self.job.get("history", ()), strict=True):
            bring(past, Path(told["adapter_path"]), Path(self.job["base_model"]))
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / STOPPED).unlink(missing_ok=True)
        former = _json(self.job_file) or {}
        if any(former.get(name) != value for name, value in self.job.items()):
            (self.path / "progress.json").unlink(missing_ok=True)
        staging = self.job_file.with_suffix(".asked")
        staging.write_text(json.dumps({**self.job, **more}))
        staging.replace(self.job_file)

    def progress(self) -> tuple[float, str] | None:
        """(share, words), as the training last said; None before that."""
        found = _json(self.path / "progress.json")
        return (float(found["progress"]), str(found["words"])) if found else None

    def stopped(self) -> FailedPrecondition | None:
        """Why the training stopped itself, if it did: Diverged, or Unsuitable."""
        found = _json(self.path / STOPPED)
        kinds = {kind.default_reason: kind for kind in (Diverged, Unsuitable)}
        return kinds[found["reason"]](str(found["message"])) if found else None

    def made(self) -> Trained | None:
        """What was finished, if it had the same plan, snapshot and base model."""
        done = _json(self.path / "done.json")
        if not done or any(done.get(name, self.job[name]) != self.job[name] for name in _SAME):
            return None
        steps = tuple(TrainingStep(**step) for step in done["steps"])
        # Those that were finished before an upgrade have no counts.
        counts = done.get("counts", {})
        adapter = self.path / "adapter"
        return Trained(str(adapter), steps, float(done["seconds"]), counts, read_base(adapter))


@dataclass(frozen=True, slots=True)
class TrainingFolders:
    """Under `root`. `bases`: where the weights of base models are, by served name; a run that names none is
    trained from `base_model`."""

    root: Path
    base_model: Path
    threads: int = 1
    bases: Mapping[str, Path] = field(default_factory=dict)

    def of(self, run: Run, plan: TrainingPlan) -> TrainingFolder:
        """Makes nothing. Raises FailedPrecondition (NO_SUCH_BASE)."""
        job: dict[str, Any] = {
            "plan": json.loads(json.dumps(asdict(plan))),  # compared with what was read as JSON
            "snapshot": run.snapshot.uri if run.snapshot else "",
            "base_model": str(self._base(run)),
            "threads": self.threads,
            "strengths": _strengths(run, plan),
        }
        folder = self.root / run.run
        past = run.history[: past_policies(plan)]
        if past:
            job["history"] = [_told(one, folder / "history") for one in past]
        return TrainingFolder(folder / plan.objective, job, past)

    def keep_only(self, runs: Collection[str]) -> None:
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            if folder.name not in runs:
                shutil.rmtree(folder, ignore_errors=True)

    def _base(self, run: Run) -> Path:
        name = run.rules.base_model
        found = self.bases.get(name) if name else self.base_model
        if found is None:
            raise FailedPrecondition(
                f"there are no weights for the base model {name!r}: name their folder in TRIMTAB_BASE_MODELS",
                reason="NO_SUCH_BASE",
            )
        return found


def _strengths(run: Run, plan: TrainingPlan) -> list[float]:
    """At which the adapter is kept beside the one that was trained. A control only has figures of its own."""
    is_candidate = plan.objective == run.rules.plan.objective
    return [one for one in run.rules.thresholds.strengths if is_candidate and one != 1.0]


def _told(past: PastPolicy, folder: Path) -> dict[str, str]:
    """As job.json has it: its adapter is where the training finds it."""
    place = str(folder / past.version) if past.adapter_path else ""
    return {"version": past.version, "adapter_path": place}


def _json(path: Path) -> dict[str, Any] | None:
    """Whoever writes these files replaces them whole. Between two looks they may be removed."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content
