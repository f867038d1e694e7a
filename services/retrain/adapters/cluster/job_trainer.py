"""Training as a job of a Kubernetes cluster.

The job of a training always has the same name, and says in its annotations what it was made for. Every look
starts from what the cluster has now: whoever looks, this process or the next, goes on with the job that it
finds and never makes a second. What travels between the service and the pod lies in the run's folder, on a
volume of both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from services.retrain.adapters.cluster import words
from services.retrain.adapters.cluster.api import Cluster, Json, Kind
from services.retrain.adapters.cluster.template import Template
from services.retrain.adapters.training_folder import TrainingFolder, TrainingFolders
from services.retrain.domain.runs import Run
from services.retrain.domain.training import Trained, TrainingPlan
from services.retrain.ports import Aside, Progress, never
from shared.language.errors import (
    AlreadyExists,
    Cancelled,
    FailedPrecondition,
    Internal,
    TrimtabError,
    Unavailable,
)

_log = logging.getLogger(__name__)
RUN, OBJECTIVE = "trimtab/run", "trimtab/objective"
DIGEST, ATTEMPT, TEMPLATE = "trimtab/job-digest", "trimtab/attempt", "trimtab/template-digest"
_STOPS_WITHIN_S = 0.3
_LOG_LINES, _LOG_CHARACTERS = 20, 800


@dataclass(frozen=True, slots=True)
class Pace:
    """`say_every_s`: how often progress is told that has not changed, also for those that wait meanwhile, and
    how long others go on before a training that gave way is looked at again.
    `files_s`: how long after a job's end its files may still be on their way through the volume."""

    look_every_s: float = 2.0
    say_every_s: float = 15.0
    files_s: float = 60.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class JobTrainer:
    """`owner`: the ConfigMap with which jobs are deleted; without it none is made. Empty: there is none."""

    folders: TrainingFolders
    cluster: Cluster
    template: Template
    pace: Pace = field(default_factory=Pace)
    owner: str = ""

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
        name = self.template.name_of(run.run, plan.objective)
        job = _Job(self, run, plan.objective, training, name)
        return job.watched(progress, is_stopped, gives_way)

    def cancel(self, run: str) -> None:
        for found in self._own(f"{RUN}={run}"):
            if not words.ended_in(found) and not words.is_going(found):
                self.delete(found)

    def keep_only(self, runs: Collection[str]) -> None:
        self.folders.keep_only(runs)
        try:
            for found in self._own(RUN):
                if found["metadata"]["labels"][RUN] not in runs and not words.is_going(found):
                    self.delete(found)
        except TrimtabError as error:
            _log.warning("jobs of former runs are left until the next run ends: %s", error.message)

    @property
    def kind(self) -> Kind:
        return self.template.shape.kind

    def delete(self, found: Json) -> None:
        metadata = found["metadata"]
        self.cluster.delete(self.kind, metadata["name"], metadata["uid"])

    def _own(self, labels: str) -> list[Json]:
        """Those of this installation: others in the namespace have other names for their runs."""
        try:
            found = self.cluster.having(self.kind, labels)
        except FailedPrecondition:  # no such kind: there are none
            return []
        return [one for one in found if self._is_own(one)]

    def _is_own(self, found: Json) -> bool:
        labels = found["metadata"]["labels"]
        name = self.template.name_of(labels[RUN], labels.get(OBJECTIVE, ""))
        return bool(found["metadata"]["name"] == name)


@dataclass(slots=True)
class _Job:
    """One training's job, whatever there is of it."""

    trainer: JobTrainer
    run: Run
    objective: str
    training: TrainingFolder
    name: str
    ended_at: float | None = None
    # Whether it is there, and the cluster has not let it begin yet.
    waits: bool = False

    def watched(
        self,
        progress: Progress,
        is_stopped: Callable[[], bool],
        gives_way: Callable[[], bool],
    ) -> Trained:
        pace, shown, look_at, say_at = self.trainer.pace, None, 0.0, 0.0
        while True:
            if is_stopped():
                raise Cancelled("training was stopped")
            if made := self.training.made():
                return made
            if pace.clock() >= look_at:
                now = self._looked()
                look_at = pace.clock() + pace.look_every_s
                if now != shown or pace.clock() >= say_at:
                    progress(*now)
                    shown, say_at = now, pace.clock() + pace.say_every_s
                if self.waits and gives_way():
                    raise Aside(*now, pace.say_every_s)
            pace.sleep(_STOPS_WITHIN_S)

    def _looked(self) -> tuple[float, str]:
        """A share, and words. An API that is away is waited for: the pod needs it less than we do."""
        try:
            state = self._advanced()
        except Unavailable as error:
            share, said = self.training.progress() or (0.0, "")
            away = f"{error.message}; asks again until it does"
            return share, f"{said}; {away}" if said else away
        share, said = self.training.progress() or (0.0, "")
        return share, state or said

    def _advanced(self) -> str:
        """One step from what there is towards a job that trains. Returns what it waits for; empty while the
        training itself says how far it is."""
        self.waits = False
        found = self.trainer.cluster.get(self.trainer.kind, self.name)
        if found is None:
            return self._created()
        if words.is_going(found):
            return f"waits until the former job {self.name} is gone"
        if RUN not in (found["metadata"].get("labels") or {}):
            raise FailedPrecondition(
                f"there is a {self.trainer.kind.name} {self.name} that was not made here: delete it (kubectl"
                f" delete {self.trainer.kind.resource} {self.name}), or give the template another metadata.name"
            )
        pods = self.trainer.cluster.pods(self.trainer.template.shape.pods_of(found))
        if why := self._why_not(found, pods):
            self.trainer.delete(found)
            return f"makes the job {self.name} anew: {why}"
        return self._state(found, pods)

    def _state(self, found: Json, pods: list[Json]) -> str:
        match words.ended_in(found):
            case "Failed":
                raise self._failure(found, pods)
            case "Complete":
                return self._awaits_files()
        if words.runs(pods) and not words.is_suspended(found) and self.training.progress():
            return ""
        self.waits = not words.has_begun(pods)
        return words.doing(found, pods)

    def _created(self) -> str:
        owner = self.trainer.owner and self.trainer.cluster.owner(self.trainer.owner)
        if owner is None:
            # An uninstall has deleted it and its jobs, and this service is about to end: a job made now would
            # belong to nobody.
            return f"waits for the ConfigMap {self.trainer.owner}, with which its jobs are deleted"
        self.training.ask()
        annotations = {
            DIGEST: self.training.digest,
            ATTEMPT: str(self.run.failures),
            TEMPLATE: self.trainer.template.digest,
        }
        manifest = self.trainer.template.filled(
            self.name,
            {RUN: self.run.run, OBJECTIVE: self.objective},
            annotations,
            ["--job", str(self.training.job_file)],
        )
        if owner:
            manifest["metadata"]["ownerReferences"] = [owner]
        with suppress(AlreadyExists):  # the next look sees whose it is
            self.trainer.cluster.create(self.trainer.kind, manifest)
        return f"asked the cluster for the job {self.name}"

    def _why_not(self, found: Json, pods: list[Json]) -> str:
        """Why this job is not the one that is wanted; empty if it is."""
        said = found["metadata"].get("annotations") or {}
        if said.get(DIGEST) != self.training.digest:
            return "it was made for another training"
        if words.ended_in(found) == "Failed" and said.get(ATTEMPT) != str(self.run.failures):
            return "the one before failed"
        is_waiting = not words.ended_in(found) and not words.has_begun(pods)
        if is_waiting and said.get(TEMPLATE) != self.trainer.template.digest:
            return "the template has changed"
        return ""

    def _awaits_files(self) -> str:
        pace = self.trainer.pace
        if self.ended_at is None:
            self.ended_at = pace.clock()
        if pace.clock() - self.ended_at >= pace.files_s:
            raise Internal(
                f"the job {self.name} completed, but {self.training.path / 'done.json'} has not come: is that"
                " folder on a volume that the job's pods and this service share?"
            )
        return f"the job {self.name} completed; waits for its files"

    def _failure(self, found: Json, pods: list[Json]) -> TrimtabError:
        if stopped := self.training.stopped():
            return stopped
        failed = words.failed_pod(pods)
        why = words.why_failed(found)
        if failed is None:
            return Internal(f"the job {self.name} failed: {why}; its pods are gone")
        said = [f"training ended with {failed} in the pod {failed.pod}", failed.message]
        try:
            log = self.trainer.cluster.log(failed.pod, failed.container, _LOG_LINES)
        except TrimtabError as error:
            log = f"(its log cannot be read: {error.message})"
        return Internal(": ".join(filter(None, (*said, why, log.strip()[-_LOG_CHARACTERS:]))))
