"""A cluster of which the tests say what becomes of its jobs and pods, and trainings on it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from services.retrain.adapters.cluster.api import JOB, Json, Kind
from services.retrain.adapters.cluster.job_trainer import JobTrainer, Pace
from services.retrain.adapters.cluster.memory import MemoryCluster
from services.retrain.adapters.cluster.template import read
from services.retrain.adapters.training_folder import TrainingFolders
from services.retrain.domain.rules import Rules
from services.retrain.domain.runs import Run, State, Trigger, TriggerKind
from services.retrain.domain.snapshots import Snapshot
from services.retrain.domain.training import Trained, TrainingPlan, TrainingStep
from tests.unit.retrain.pairs import START

PLAN = TrainingPlan(max_steps=3)
NAME = "trimtab-run-1-dpo"
# The ConfigMap with which jobs are deleted.
OWNER = "training-job"


def manifest(**spec: Any) -> Json:
    """Of a Job that is accepted."""
    container = {
        "name": "train",
        "image": "trimtab-trainer:1",
        "command": ["python", "-m", "services.retrain.train"],
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "volumeMounts": [{"name": "data", "mountPath": "/"}],
    }
    pod = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"labels": {"team": "a"}}}
    return {**job, "spec": {"backoffLimit": 0, "template": {"spec": pod}, **spec}}


def train_job(**trainer: Any) -> Json:
    spec = {"runtimeRef": {"name": "torch"}, "trainer": {"image": "trimtab-trainer:1", **trainer}}
    kind = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "metadata": {}}
    return {**kind, "spec": spec}


def run_of(failures: int = 0, snapshot: str = "a") -> Run:
    return Run(
        run="run-1",
        number=1,
        state=State.TRAIN,
        trigger=Trigger(TriggerKind.PERSON, "a test"),
        create_time=START,
        update_time=START,
        rules=Rules(),
        failures=failures,
        snapshot=Snapshot(snapshot, f"/snapshots/{snapshot}", 8, 0, 5, 0, {}, 0.2),
    )


def finish(folder: Path) -> None:
    """As the pod does at the end of its training."""
    job = json.loads((folder / "job.json").read_text())
    steps = [asdict(TrainingStep(n, 0.5, 1.0, 1.0, 2.0, 0.1, 1.0)) for n in (1, 2, 3)]
    done = {name: job[name] for name in ("plan", "snapshot", "base_model")}
    (folder / "adapter").mkdir(exist_ok=True)
    (folder / "done.json").write_text(json.dumps({**done, "steps": steps, "seconds": 2.0}))


def say(folder: Path, progress: float, words: str) -> None:
    (folder / "progress.json").write_text(json.dumps({"progress": progress, "words": words}))


def pod(phase: str, name: str = "pod-1", uid: str = "uid-1", **status: Any) -> Json:
    limits = {"resources": {"limits": {"nvidia.com/gpu": "2"}}}
    spec = {"containers": [{"name": "train", **limits}]}
    if phase != "Pending":
        spec["nodeName"] = "node-1"  # type: ignore[assignment]
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase, **status}}


def ended(code: int, reason: str, message: str = "") -> Json:
    terminated = {"exitCode": code, "reason": reason, "message": message}
    return {"containerStatuses": [{"name": "train", "state": {"terminated": terminated}}]}


@dataclass
class Play:
    """A training on `cluster`. Time passes only while it waits; before each wait the next of `acts` is done."""

    folder: Path
    kind: Kind = JOB
    cluster: MemoryCluster = field(default_factory=MemoryCluster)
    content: Json = field(default_factory=manifest)
    shown: list[tuple[float, str]] = field(default_factory=list)
    now: float = 0.0
    acts: Iterator[Callable[[], object]] = field(default_factory=lambda: iter(()))
    is_stopped: bool = False
    owner: str = ""

    @property
    def training(self) -> Path:
        return self.folder / "runs/run-1/dpo"

    @property
    def job(self) -> Json:
        return self.cluster.jobs[self.kind, NAME]

    @property
    def words(self) -> list[str]:
        return [words for _, words in self.shown]

    def trainer(self, look_every_s: float = 0.3) -> JobTrainer:
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(self.content))
        template = read(str(path), "job" if self.kind == JOB else "trainjob")
        pace = Pace(look_every_s, 15.0, 60.0, lambda: self.now, self._sleep)
        folders = TrainingFolders(self.folder / "runs", Path("/models/base"))
        return JobTrainer(folders, self.cluster, template, pace, self.owner)

    def train(self, *acts: Callable[[], object], run: Run | None = None) -> Trained:
        """Each of `acts` is done between two looks; the last one must end the training."""
        self.acts = iter(acts)
        return self.trainer().train(
            run or run_of(), PLAN, lambda *seen: self.shown.append(seen), lambda: self.is_stopped
        )

    def finish(self) -> None:
        finish(self.training)

    def pods(self, *pods: Json) -> None:
        uid = self.job["metadata"]["uid"]
        self.cluster.pods_by_labels[f"batch.kubernetes.io/controller-uid={uid}"] = list(pods)

    def end(self, kind: str, reason: str = "", message: str = "") -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.job["status"] = {"conditions": [condition]}

    def stop(self) -> None:
        self.is_stopped = True

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        act = next(self.acts, None)
        assert act is not None or self.now < 3600, "nothing more happens"
        if act is not None:
            act()
