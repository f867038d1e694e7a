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
_GPUS = "nvidia.com/gpu"
_ONE_PROCESS = "a training is one process on one GPU, and more would wait for nothing: set it to 1"


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
        for name in ("completions", "parallelism"):
            _is_one(manifest["spec"], name, f"spec.{name}")
        place = "spec.template.spec.containers[0].resources"
        _has_one_gpu(containers[0].get("resources"), place)

    def add_arguments(self, manifest: Json, arguments: Sequence[str]) -> None:
        spec = manifest["spec"]
        container = spec["template"]["spec"]["containers"][0]
        container["args"] = [*(container.get("args") or ()), *arguments]
        # Two pods would write into one folder: the next begins when the former has ended.
        spec.setdefault("podReplacementPolicy", "Failed")
        spec.setdefault("completions", 1)
        spec.setdefault("completionMode", "Indexed")

    def mounts(self, manifest: Json) -> list[str] | None:
        mounts = manifest["spec"]["template"]["spec"]["containers"][0].get("volumeMounts") or ()
        return [str(mount["mountPath"]) for mount in mounts]

    def pods_of(self, found: Json) -> str:
        return f"batch.kubernetes.io/controller-uid={found['metadata']['uid']}"


class TrainJobs:
    """Kubeflow Trainer makes a JobSet of the same name. Its runtime may say what the manifest leaves out."""

    kind = TRAIN_JOB

    def check(self, manifest: Json) -> None:
        if not _at(manifest, "spec.runtimeRef").get("name"):
            raise ValueError("spec.runtimeRef.name must name a training runtime of the cluster")
        trainer = _at(manifest, "spec.trainer")
        for name in ("numNodes", "numProcPerNode"):
            _is_one(trainer, name, f"spec.trainer.{name}")
        _has_one_gpu(trainer.get("resourcesPerNode"), "spec.trainer.resourcesPerNode")

    def add_arguments(self, manifest: Json, arguments: Sequence[str]) -> None:
        trainer = manifest["spec"]["trainer"]
        trainer["args"] = [*(trainer.get("args") or ()), *arguments]
        trainer["numNodes"] = 1

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


def _is_one(content: Json, name: str, place: str) -> None:
    value = content.get(name)
    if value not in (None, 1, "1"):
        raise ValueError(f"{place} is {value}: {_ONE_PROCESS}")


def _has_one_gpu(resources: Any, place: str) -> None:
    limits = (resources or {}).get("limits") or {}
    _is_one(limits, _GPUS, f"{place}.limits[{_GPUS}]")
