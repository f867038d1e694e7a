"""Nodes that are not there: kwok tells the API server what kubelets would.

Pods on them get ready at once, and those made to end (of Jobs, and Helm's hooks) end half a second later.
Annotations of a pod change that: `fake.trimtab/never-ready: "true"`, `fake.trimtab/runs-for: 1h`,
`fake.trimtab/exit-code: "3"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.kubernetes.tools import pinned_folder

GPU = "nvidia.com/gpu"
NEVER_READY = "fake.trimtab/never-ready"
RUNS_FOR = "fake.trimtab/runs-for"
EXIT_CODE = "fake.trimtab/exit-code"

_OURS = Path(__file__).with_name("stages.yaml")
# Of kwok's own, in its module's folder of stages.
_THEIRS = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-delete.yaml",
)


@dataclass(frozen=True)
class Node:
    """A fake node. With GPUs it is tainted, as most clusters' are, unless `is_tainted` is False."""

    name: str
    gpus: int = 0
    cpus: int = 32
    memory: str = "256Gi"
    labels: Mapping[str, str] = field(default_factory=dict)
    is_tainted: bool = True

    def manifest(self) -> dict[str, Any]:
        sizes = {
            "cpu": str(self.cpus),
            "memory": self.memory,
            "pods": "110",
            "ephemeral-storage": "1Ti",
        }
        if self.gpus:
            sizes[GPU] = str(self.gpus)
        taints = [{"key": GPU, "value": "present", "effect": "NoSchedule"}]
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self.name,
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {
                    "kubernetes.io/hostname": self.name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                    **self.labels,
                },
            },
            "spec": {"taints": taints if self.gpus and self.is_tainted else []},
            "status": {"capacity": sizes, "allocatable": sizes},
        }


def write_configuration(file: Path, logs: Path) -> None:
    """kwok's configuration: the stages, and `logs` as what `kubectl logs` shows of every container."""
    stages = [yaml.safe_load(path.read_text()) for path in _their_stages()]
    for stage in stages:
        if stage["metadata"]["name"] == "pod-ready":
            _unless_annotated(stage)
    shown = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "ClusterLogs",
        "metadata": {"name": "logs"},
        "spec": {"logs": [{"logsFile": str(logs), "follow": False}]},
    }
    file.write_text(yaml.safe_dump_all([*stages, shown]) + "---\n" + _OURS.read_text())


def _their_stages() -> list[Path]:
    folder = pinned_folder("sigs.k8s.io/kwok") / "kustomize" / "stage"
    return [folder / name for name in _THEIRS]


def _unless_annotated(stage: dict[str, Any]) -> None:
    stage["spec"]["selector"]["matchExpressions"].append(
        {"key": f'.metadata.annotations["{NEVER_READY}"]', "operator": "DoesNotExist"}
    )
