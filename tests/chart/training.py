"""Trainings on a cluster of fake nodes, done with no more rights than retrain has. The tests do what a pod
would do in the run's folder, and say when it ends."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.kubernetes.cluster import FakeCluster
from infra.kubernetes.fake_nodes import GPU, RUNS_FOR
from services.retrain.adapters.cluster.api import JOB, Json, Kind
from services.retrain.adapters.cluster.job_trainer import JobTrainer, Pace
from services.retrain.adapters.cluster.kubernetes_api import KubernetesApi
from services.retrain.adapters.cluster.template import read
from services.retrain.adapters.training_folder import TrainingFolders
from services.retrain.domain.runs import Run
from services.retrain.domain.training import Trained
from tests.polling import until
from tests.unit.retrain.cluster import NAME, OWNER, PLAN, finish, manifest, run_of, say

ACCOUNT = "retrain"
# All that retrain may do.
RULES = [
    {
        "apiGroups": ["batch"],
        "resources": ["jobs"],
        "verbs": ["create", "get", "list", "watch", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [OWNER], "verbs": ["get"]},
    {
        "apiGroups": ["trainer.kubeflow.org"],
        "resources": ["trainjobs"],
        "verbs": ["create", "get", "list", "watch", "delete"],
    },
]


def account(cluster: FakeCluster, namespace: str, rules: list[dict[str, Any]]) -> Path:
    """A kubeconfig of retrain's service account with these rights."""
    metadata = {"name": ACCOUNT, "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", **metadata}
    cluster.apply(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": ACCOUNT},
                "subjects": [subject],
            },
        ]
    )
    return cluster.kubeconfig_as(ACCOUNT, namespace)


def gpu_job(gpus: int = 2, command: tuple[str, ...] = ("torchrun",), **spec: Any) -> Json:
    """Its pods run until they are ended."""
    job = manifest(**spec)
    template = job["spec"]["template"]
    template["metadata"] = {"annotations": {RUNS_FOR: "1h"}}
    template["spec"]["tolerations"] = [{"key": GPU, "operator": "Exists"}]
    template["spec"]["containers"][0]["command"] = list(command)
    template["spec"]["containers"][0]["resources"] = {"limits": {GPU: gpus}}
    return job


@dataclass
class Scene:
    cluster: FakeCluster
    namespace: str
    folder: Path
    api: KubernetesApi
    shown: list[tuple[float, str]] = field(default_factory=list)
    threads: list[Training] = field(default_factory=list)

    @property
    def training(self) -> Path:
        return self.folder / "runs/run-1/dpo"

    def trainer(self, content: Json, kind: str = "job") -> JobTrainer:
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(content))
        folders = TrainingFolders(self.folder / "runs", Path("/models/base"))
        pace = Pace(look_every_s=0.3, files_s=5.0)
        return JobTrainer(folders, self.api, read(str(path), kind), pace)

    def begin(self, trainer: JobTrainer, run: Run | None = None) -> Training:
        self.threads.append(made := Training(trainer, run or run_of(), self.shown))
        made.thread.start()
        return made

    def end(self) -> None:
        for one in self.threads:
            one.is_stopped.set()
            one.thread.join(30)

    def until_shown(self, part: str) -> str:
        def found() -> str:
            return next((words for _, words in self.shown if part in words), "")

        words: str = until(found, f"{part!r} among {[words for _, words in self.shown]}")
        return words

    def uid(self, kind: Kind = JOB) -> str:
        """Of the training's job, once there is one."""
        found: Json = until(lambda: self.api.get(kind, NAME), f"the {kind.name} {NAME}")
        return str(found["metadata"]["uid"])

    def pods(self) -> list[Json]:
        found: list[Json] = self.cluster.get("pods", namespace=self.namespace)["items"]
        return found

    def running(self, count: int = 1) -> list[str]:
        """The names of the pods, once so many run."""

        def found() -> list[str]:
            live = [one for one in self.pods() if one["status"].get("phase") == "Running"]
            names = [one["metadata"]["name"] for one in live if _is_live(one)]
            return sorted(names) if len(names) == count else []

        names: list[str] = until(found, f"{count} running pods")
        return names

    def patch(self, kind: str, patch: Json, *words: str) -> None:
        said = ("--type=merge", "-p", json.dumps(patch), *words)
        self.cluster.kubectl("-n", self.namespace, "patch", kind, NAME, *said)

    def say(self, share: float, words: str) -> None:
        say(self.training, share, words)

    def finish(self) -> None:
        finish(self.training)


class Training:
    """JobTrainer.train in a thread, as the runner calls it."""

    def __init__(self, trainer: JobTrainer, run: Run, shown: list[tuple[float, str]]) -> None:
        self.trainer, self.run, self.shown = trainer, run, shown
        self.is_stopped = threading.Event()
        self.made: Trained | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._train, daemon=True)

    def _train(self) -> None:
        try:
            self.made = self.trainer.train(
                self.run, PLAN, lambda *seen: self.shown.append(seen), self.is_stopped.is_set
            )
        except BaseException as error:
            self.error = error

    def result(self, seconds: float = 60) -> Trained:
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"goes on: {self.shown}"
        if self.error:
            raise self.error
        assert self.made is not None
        return self.made

    def stop(self) -> None:
        """As a service that ends: whoever comes next goes on."""
        self.is_stopped.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def _is_live(pod: Json) -> bool:
    return "deletionTimestamp" not in pod["metadata"]
