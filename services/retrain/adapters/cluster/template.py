"""The template of training jobs: a whole manifest, written by whoever runs the cluster, to which each training
adds its name, its labels and its arguments."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from services.retrain.adapters.cluster.api import JOB, TRAIN_JOB, Json, Kind

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Pods are named after their job, with up to eleven characters more. A name is also a label: 63 at most.
_NAME_LENGTH = 52
_STARTS_SEVERAL = ("torchrun", "torch.distributed.run")


class Shape(Protocol):
    """Where things are in a manifest."""

    kind: Kind

    def check(self, manifest: Json) -> None:
        """Raises ValueError, naming the field."""

    def add_arguments(self, manifest: Json, arguments: Sequence[str]) -> None: ...

    def mounts(self, manifest: Json) -> list[str] | None:
        """Where its first container has volumes; None where the manifest does not tell."""

    def pods_of(self, found: Json) -> str:
        """A selector of the pods of this job, and not of a former one of its name."""


class BatchJobs:
    kind = JOB

    def check(self, manifest: Json) -> None:
        spec = _at(manifest, "spec.template.spec")
        containers = spec.get("containers") or [{}]
        if not isinstance(containers[0], dict) or not containers[0].get("image"):
            raise ValueError("spec.template.spec.containers needs a container with an image")
        if spec.get("restartPolicy") != "Never":
            raise ValueError(
                "spec.template.spec.restartPolicy must be Never: of a container that is started again, nobody"
                " can read why it ended"
            )
        pods, completions = self._pods(manifest), int(manifest["spec"].get("completions") or 1)
        if pods != completions:
            raise ValueError(
                f"spec.completions is {completions} and spec.parallelism {pods}: the pods of a training"
                " train together, so both are their number"
            )
        if pods > 1 and manifest["spec"].get("completionMode", "Indexed") != "Indexed":
            raise ValueError("spec.completionMode must be Indexed: each pod needs a number")
        place = "spec.template.spec.containers[0]"
        _check_processes(containers[0], place, pods, _gpus(containers[0].get("resources")))

    def add_arguments(self, manifest: Json, arguments: Sequence[str]) -> None:
        spec = manifest["spec"]
        container = spec["template"]["spec"]["containers"][0]
        container["args"] = [*(container.get("args") or ()), *arguments]
        # Two pods would write into one folder: the next begins when the former has ended.
        spec.setdefault("podReplacementPolicy", "Failed")
        spec.setdefault("completions", 1)
        spec.setdefault("completionMode", "Indexed")
        if self._pods(manifest) > 1:
            # If one pod fails, all begin anew from the checkpoint: the others wait for it in vain.
            spec["backoffLimit"] = 0

    def mounts(self, manifest: Json) -> list[str] | None:
        mounts = manifest["spec"]["template"]["spec"]["containers"][0].get("volumeMounts") or ()
        return [str(mount["mountPath"]) for mount in mounts]

    def _pods(self, manifest: Json) -> int:
        return int(manifest["spec"].get("parallelism") or 1)

    def pods_of(self, found: Json) -> str:
        return f"batch.kubernetes.io/controller-uid={found['metadata']['uid']}"


class TrainJobs:
    """Kubeflow Trainer makes a JobSet of the same name. Its runtime may say what the manifest leaves out."""

    kind = TRAIN_JOB

    def check(self, manifest: Json) -> None:
        if not _at(manifest, "spec.runtimeRef").get("name"):
            raise ValueError("spec.runtimeRef.name must name a training runtime of the cluster")
        trainer = _at(manifest, "spec.trainer")
        nodes, gpus = int(trainer.get("numNodes") or 1), _gpus(trainer.get("resourcesPerNode"))
        _check_processes(trainer, "spec.trainer", nodes, gpus)

    def add_arguments(self, manifest: Json, arguments: Sequence[str]) -> None:
        trainer = manifest["spec"]["trainer"]
        trainer["args"] = [*(trainer.get("args") or ()), *arguments]

    def mounts(self, manifest: Json) -> list[str] | None:
        return None

    def pods_of(self, found: Json) -> str:
        return f"jobset.sigs.k8s.io/jobset-name={found['metadata']['name']}"


SHAPES: Mapping[str, Shape] = {"job": BatchJobs(), "trainjob": TrainJobs()}


@dataclass(frozen=True, slots=True)
class Template:
    shape: Shape
    content: Json

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def prefix(self) -> str:
        """What names begin with: several installations in a namespace have different ones."""
        metadata = self.content.get("metadata") or {}
        labels = metadata.get("labels") or {}
        return str(metadata.get("name") or labels.get("app.kubernetes.io/instance") or "trimtab")

    def name_of(self, run: str, objective: str) -> str:
        """The same for the same training. A DNS label; one that would be too long ends in a digest instead."""
        name = f"{self.prefix}-{run}-{objective}"
        if len(name) <= _NAME_LENGTH and _LABEL.fullmatch(name):
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()[:10]
        readable = re.sub(r"[^a-z0-9]+", "-", name.lower())[: _NAME_LENGTH - len(digest) - 1]
        return f"{readable.rstrip('-')}-{digest}"

    def filled(
        self,
        name: str,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        arguments: Sequence[str],
    ) -> Json:
        manifest = copy.deepcopy(self.content)
        manifest["metadata"] = metadata = manifest.get("metadata") or {}
        metadata.pop("namespace", None)  # the settings name it
        metadata["name"] = name
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
        self.shape.add_arguments(manifest, arguments)
        return manifest

    def check_mounts(self, folder: Path) -> None:
        """Raises ValueError if no volume is mounted where the folders of runs are."""
        mounts = self.shape.mounts(self.content)
        if mounts is not None and not any(folder.is_relative_to(mount) for mount in mounts):
            raise ValueError(
                "spec.template.spec.containers[0].volumeMounts: no volume is mounted at or above"
                f" {folder}, where a pod finds what it is to train and leaves its adapter"
            )


def read(path: str, trainer: str) -> Template:
    """Raises ValueError, which names the field that is wrong."""
    shape = SHAPES[trainer]
    try:
        content = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not one document of YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a manifest")
    given = (content.get("apiVersion"), content.get("kind"))
    if given != (shape.kind.api_version, shape.kind.name):
        raise ValueError(
            f"{path}: apiVersion and kind are {given[0]} and {given[1]}; the trainer {trainer!r} needs"
            f" {shape.kind.api_version} and {shape.kind.name}"
        )
    template = Template(shape, content)
    try:
        shape.check(content)
        if not _LABEL.fullmatch(template.prefix):
            raise ValueError("metadata.name, with which the names of jobs begin, is no DNS label")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return template


def _at(manifest: Json, place: str) -> Json:
    found: Any = manifest
    for name in place.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"{place} is missing")
    return found


def _gpus(resources: Any) -> int:
    limits = (resources or {}).get("limits") or {}
    return sum(int(amount) for name, amount in limits.items() if name.endswith("/gpu"))


def _check_processes(container: Json, place: str, pods: int, gpus: int) -> None:
    """An image's own command is its own business."""
    command = container.get("command")
    said = " ".join(map(str, (*(command or ()), *(container.get("args") or ()))))
    if command and max(pods, gpus) > 1 and not any(name in said for name in _STARTS_SEVERAL):
        asked = f"{pods} pods" if pods > 1 else f"{gpus} GPUs"
        raise ValueError(
            f"{place}.command starts one process, which trains on one GPU, but there are {asked}: begin it with"
            " torchrun"
        )
