"""Kubernetes with one real node on this machine: containers, probes, Services. Needs root."""

from __future__ import annotations

import json
import os
from pathlib import Path

from infra.kubernetes import leftovers
from infra.kubernetes.cluster import Cluster
from infra.kubernetes.control_plane import ControlPlane
from infra.kubernetes.fake_nodes import GPU
from infra.kubernetes.images import write_busybox_image
from infra.kubernetes.node import ADDRESS, NODE, PAUSE, PODS, NodeFiles
from infra.kubernetes.packages import require_packages
from infra.kubernetes.processes import CommandFailed, run
from infra.kubernetes.tools import REAL, build_tools, tool
from infra.local.ports import free_ports


class RealCluster(Cluster):
    """One at a time on a machine: the names of its network and control groups are fixed.

    Images are what `load_image` brought; pods use them with `imagePullPolicy: Never`.
    """

    def __init__(self, folder: Path, gpus: int = 2) -> None:
        super().__init__(folder)
        self._gpus = gpus
        self._files = NodeFiles(self.folder / "node")
        self._control = ControlPlane(self.folder, self.processes, ADDRESS)
        self._claim: leftovers.Claim | None = None
        self._forwarding = leftovers.FORWARDING.read_text()

    @property
    def kubeconfig(self) -> Path:
        return self._control.kubeconfig

    def start(self) -> None:
        """Also raises PackagesMissing, AnotherRuns, and PermissionError for anybody but root."""
        _require_root()
        require_packages()
        tools = build_tools(REAL)
        self._claim = leftovers.Claim(self._files.socket, self.folder)
        try:
            leftovers.FORWARDING.write_text("1")
            leftovers.make_bridge(ADDRESS, int(PODS.split("/")[1]))
            self._control.start()
            self._start_node(tools)
            self.processes.wait_until(self._is_usable, "the node", timeout_s=120)
            self._pretend_gpus()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self._claim is None:
            return
        for name in ("kubelet", "kube-proxy", "coredns"):
            self.processes.stop(name)
        leftovers.remove(self._files.socket, self.folder)
        self.processes.stop("containerd")
        self._control.stop()
        leftovers.FORWARDING.write_text(self._forwarding)
        self._claim.give_back()
        self._claim = None

    def load_image(self, archive: Path) -> None:
        """Brings an image to the node, from an archive as `docker save` or `buildah push` make them."""
        run(self._files.ctr("images", "import", str(archive)))

    def images(self) -> list[str]:
        return run(self._files.ctr("images", "list", "--quiet")).split()

    def _start_node(self, tools: Path) -> None:
        self._files.write(self.kubeconfig, free_ports(4))
        self.processes.start("containerd", self._files.containerd_command())
        self.processes.wait_until(self._answers, "containerd's answer")
        pause = self.folder / "pause.tar"
        write_busybox_image(pause, PAUSE, ["/bin/busybox", "sleep", "2147483647"])
        self.load_image(pause)
        kubelet = self._files.kubelet_command(tools / "kubelet", self.kubeconfig)
        self.processes.start("kubelet", kubelet)
        self.processes.start("kube-proxy", self._files.proxy_command(tools / "kube-proxy"))
        self.processes.start("coredns", self._files.dns_command(tool("coredns")))

    def _answers(self) -> bool:
        try:
            run(self._files.ctr("version"))
        except CommandFailed:
            return False
        return True

    def _pretend_gpus(self) -> None:
        """The node says that it has GPUs; what asks for them runs, and finds none."""
        path = f"/status/capacity/{GPU.replace('/', '~1')}"
        patch = json.dumps([{"op": "add", "path": path, "value": str(self._gpus)}])
        self.kubectl("patch", "node", NODE, "--subresource=status", "--type=json", "-p", patch)
        self.processes.wait_until(self._has_gpus, "the node's GPUs")

    def _has_gpus(self) -> bool:
        return GPU in self.get("node", NODE)["status"]["allocatable"]

    def _is_usable(self) -> bool:
        try:
            self.get("serviceaccount", "default")
            self.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=0s")
        except CommandFailed:
            return False
        return True

    def _kubeconfig_for(self, token: str) -> str:
        return self._control.kubeconfig_for(token)


def _require_root() -> None:
    if os.getuid() != 0:
        raise PermissionError("a real node needs root: containers, mounts and a network bridge")
