"""Kubernetes for tests: a real control plane whose nodes are kwok's fakes.

What the API server, its admission, the scheduler and the controllers do is real. Containers do not run, and
Services carry no traffic.
"""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from infra.kubernetes.control_plane import ControlPlane
from infra.kubernetes.crds import paths_of
from infra.kubernetes.fake_nodes import Node, write_configuration
from infra.kubernetes.processes import CommandFailed, Processes, run
from infra.kubernetes.tools import FAKE, build_tools, tool
from infra.local.ports import free_ports

__all__ = ["Cluster", "CommandFailed", "FakeCluster", "Node"]

NODES = (Node("cpu-1"), Node("gpu-1", gpus=2), Node("gpu-2", gpus=2))


class Cluster(ABC):
    """A running Kubernetes and its clients. Everything it writes is in `folder`; whoever made the folder
    removes it. Also a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.processes = Processes(self.folder / "logs")

    @property
    @abstractmethod
    def kubeconfig(self) -> Path:
        """Of the administrator."""

    @abstractmethod
    def start(self) -> None:
        """Returns when pods can be scheduled. If it raises (ToolsError, ClusterFailed), nothing runs."""

    @abstractmethod
    def stop(self) -> None:
        """Kills what start has started; may be repeated."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def kubectl(self, *words: str, stdin: str = "", kubeconfig: Path | None = None) -> str:
        """Runs kubectl as the administrator, or as the kubeconfig says. Raises CommandFailed."""
        program = tool("kubectl")
        return run([program, *words], stdin, self.environment(kubeconfig))

    def helm(self, *words: str, stdin: str = "") -> str:
        """Raises CommandFailed."""
        return run([tool("helm"), *words], stdin, self.environment(), timeout_s=900)

    def environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        """What helm and kubectl need to work on this cluster and to write to its folder alone."""
        helm = {
            f"HELM_{kind}_HOME": str(self.folder / "helm" / kind.lower()) for kind in _HELM_HOMES
        }
        kubectl = {
            "KUBECONFIG": str(kubeconfig or self.kubeconfig),
            "KUBECACHEDIR": str(self.folder / "cache"),
        }
        return helm | kubectl

    def get(self, kind: str, name: str = "", namespace: str = "default") -> dict[str, Any]:
        """One object, or the list of a kind. Raises CommandFailed."""
        words = [kind, *([name] if name else [])]
        found: dict[str, Any] = json.loads(
            self.kubectl("-n", namespace, "get", *words, "-o", "json")
        )
        return found

    def apply(
        self, manifest: str | Mapping[str, Any] | Sequence[Mapping[str, Any]], *words: str
    ) -> str:
        """Applies YAML, an object or several, with kubectl's further words. Raises CommandFailed."""
        if not isinstance(manifest, str):
            objects = [manifest] if isinstance(manifest, Mapping) else manifest
            manifest = yaml.safe_dump_all([dict(one) for one in objects])
        return self.kubectl("apply", *words, "-f", "-", stdin=manifest)

    def apply_crds(self, *names: str) -> None:
        """Defines the custom resources of crds.toml, all without a name. Returns once they are served."""
        files = [word for path in paths_of(names) for word in ("-f", str(path))]
        # Some are longer than the annotation that a client's apply would add.
        self.kubectl("apply", "--server-side", *files)
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")

    def add_volumes(self, count: int, size: str = "100Gi") -> None:
        """Makes volumes in the cluster's folder, for claims that name no storage class; nobody else makes
        any. Each serves one claim."""
        volumes = []
        for name in (f"volume-{uuid.uuid4().hex[:8]}" for _ in range(count)):
            path = self.folder / "volumes" / name
            path.mkdir(parents=True)
            # Whoever a pod runs as; the mode that mkdir takes is cut by the umask.
            path.chmod(0o777)
            volumes.append(_volume(name, path, size))
        self.apply(volumes)

    def kubeconfig_as(self, account: str, namespace: str) -> Path:
        """A kubeconfig with a token of the service account, which must exist."""
        token = self.kubectl("-n", namespace, "create", "token", account).strip()
        path = self.folder / f"kubeconfig-{namespace}-{account}"
        path.write_text(self._kubeconfig_for(token))
        return path

    @abstractmethod
    def _kubeconfig_for(self, token: str) -> str:
        """The text of a kubeconfig."""


_HELM_HOMES = ("CACHE", "CONFIG", "DATA")


def _volume(name: str, path: Path, size: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(path), "type": "Directory"},
        },
    }


class FakeCluster(Cluster):
    """A control plane with fake nodes, on free ports of the loopback address. Up in seconds, half a GiB."""

    def __init__(self, folder: Path, nodes: Sequence[Node] = NODES) -> None:
        super().__init__(folder)
        self._nodes = nodes
        self._control = ControlPlane(self.folder, self.processes)
        # What `kubectl logs` shows of every container; a test may write to it.
        self.container_logs = self.folder / "containers.log"

    @property
    def kubeconfig(self) -> Path:
        return self._control.kubeconfig

    def start(self) -> None:
        build_tools(FAKE)
        try:
            self._control.start()
            self._start_kwok()
            self.apply([node.manifest() for node in self._nodes])
            self.processes.wait_until(
                self._is_usable, "ready nodes and the default service account"
            )
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.processes.stop("kwok")
        self._control.stop()

    def add_node(
        self,
        name: str,
        gpus: int = 0,
        labels: Mapping[str, str] | None = None,
        is_tainted: bool = True,
    ) -> None:
        """Returns once the node is ready."""
        self.apply(Node(name, gpus=gpus, labels=labels or {}, is_tainted=is_tainted).manifest())
        self.kubectl("wait", "--for=condition=Ready", f"node/{name}", "--timeout=60s")

    def remove_node(self, name: str) -> None:
        """As if the machine were taken away: its pods go with it."""
        self.kubectl("delete", "node", name)

    def end_pod(self, name: str, namespace: str, exit_code: int = 0) -> None:
        """Ends the containers of a running pod."""
        pod = self.get("pod", name, namespace)
        ended = {
            "terminated": {"exitCode": exit_code, "reason": "Error" if exit_code else "Completed"}
        }
        containers = [
            {**one, "ready": False, "started": False, "state": ended}
            for one in pod["status"]["containerStatuses"]
        ]
        status = {"phase": "Failed" if exit_code else "Succeeded", "containerStatuses": containers}
        patch = json.dumps({"status": status})
        self.kubectl(
            "-n",
            namespace,
            "patch",
            "pod",
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            patch,
        )

    def _start_kwok(self) -> None:
        configuration = self.folder / "kwok.yaml"
        self.container_logs.touch()
        write_configuration(configuration, self.container_logs)
        (port,) = free_ports(1)
        options = {
            "kubeconfig": self.kubeconfig,
            "config": configuration,
            "manage-all-nodes": "true",
            "node-ip": "127.0.0.1",
            "node-port": port,
            "node-lease-duration-seconds": 40,
            "tls-cert-file": self._control.certificate,
            "tls-private-key-file": self._control.key,
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        self.processes.start("kwok", [tool("kwok"), *words])

    def _is_usable(self) -> bool:
        try:
            self.get("serviceaccount", "default")
            nodes = self.get("nodes")["items"]
        except CommandFailed:
            return False
        return len(nodes) >= len(self._nodes) and all(map(_is_ready, nodes))

    def _kubeconfig_for(self, token: str) -> str:
        return self._control.kubeconfig_for(token)


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
