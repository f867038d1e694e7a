"""The parts of a real node: containerd, kubelet, kube-proxy and DNS, with all that they write in one folder.

Pods are on a bridge of their own, and everything listens there or on the loopback address: a kubelet that asks
nobody for a password must not be seen from outside.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

NETWORK = "trimtab"
BRIDGE = "trimtab0"
PODS = "10.244.0.0/24"
ADDRESS = "10.244.0.1"
NODE = "node1"
DOMAIN = "cluster.local"
PAUSE = "localhost/trimtab/pause:1"
_CRI = "io.containerd.grpc.v1.cri"


@dataclass(frozen=True)
class NodeFiles:
    """Where the node's files are, all below `folder`. Paths of sockets may have a hundred characters."""

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "containerd.sock"

    @property
    def kubelet(self) -> Path:
        return self.folder / "kubelet"

    @property
    def pod_logs(self) -> Path:
        return self.folder / "pod-logs"

    def write(self, kubeconfig: Path, ports: list[int]) -> None:
        """The configuration of all parts; `ports` are four free ones of the loopback address."""
        kubelet_port, kubelet_health, proxy_health, proxy_metrics = ports
        for name in ("cni", "kubelet", "pod-logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "containerd.toml").write_text(self._containerd())
        (self.folder / "cni" / f"{NETWORK}.conflist").write_text(json.dumps(self._network()))
        (self.folder / "Corefile").write_text(_corefile(kubeconfig))
        # Pods that do not ask the cluster's DNS ask nobody.
        (self.folder / "resolv.conf").write_text("")
        kubelet = self._kubelet(kubelet_port, kubelet_health)
        (self.folder / "kubelet.yaml").write_text(yaml.safe_dump(kubelet))
        proxy = _proxy(kubeconfig, proxy_health, proxy_metrics)
        (self.folder / "kube-proxy.yaml").write_text(yaml.safe_dump(proxy))

    def containerd_command(self) -> list[str]:
        return ["containerd", "--config", str(self.folder / "containerd.toml")]

    def kubelet_command(self, program: Path, kubeconfig: Path) -> list[str]:
        options = {
            "config": self.folder / "kubelet.yaml",
            "kubeconfig": kubeconfig,
            "hostname-override": NODE,
            "node-ip": ADDRESS,
            "root-dir": self.kubelet,
            "cert-dir": self.folder / "kubelet-certificates",
            # Containers may not lower theirs everywhere, and neither may the kubelet.
            "oom-score-adj": 0,
        }
        return [str(program), *(f"--{name}={value}" for name, value in options.items())]

    def proxy_command(self, program: Path) -> list[str]:
        return [str(program), f"--config={self.folder / 'kube-proxy.yaml'}"]

    def dns_command(self, program: Path) -> list[str]:
        return [str(program), "-conf", str(self.folder / "Corefile")]

    def ctr(self, *words: str) -> list[str]:
        return ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", *words]

    def _containerd(self) -> str:
        return f"""\
version = 2
root = "{self.folder}/containerd/root"
state = "{self.folder}/containerd/state"
[grpc]
address = "{self.socket}"
[ttrpc]
address = "{self.socket}.ttrpc"
[plugins."{_CRI}"]
sandbox_image = "{PAUSE}"
stream_server_address = "127.0.0.1"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."{_CRI}".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."{_CRI}".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."{_CRI}".containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins."{_CRI}".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{self.folder}/cni"
"""

    def _network(self) -> dict[str, Any]:
        addresses = {
            "type": "host-local",
            "dataDir": str(self.folder / "addresses"),
            "ranges": [[{"subnet": PODS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": addresses,
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "1.0.0", "name": NETWORK, "plugins": [bridge, ports]}

    def _kubelet(self, port: int, health_port: int) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": ADDRESS,
            "port": port,
            "readOnlyPort": 0,
            "healthzPort": health_port,
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "cgroupDriver": "cgroupfs",
            # Either version of control groups will do for a test.
            "failCgroupV1": False,
            "failSwapOn": False,
            # A machine that tests are run on may be nearly full.
            "evictionHard": {
                "memory.available": "50Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "clusterDNS": [ADDRESS],
            "clusterDomain": DOMAIN,
            "resolvConf": str(self.folder / "resolv.conf"),
            "podLogsDir": str(self.pod_logs),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            # Its chains would stay behind; what they are for is for older proxies.
            "makeIPTablesUtilChains": False,
        }


def _corefile(kubeconfig: Path) -> str:
    """Names of the cluster; there are no others."""
    return f"""\
{DOMAIN}:53 {{
    bind {ADDRESS}
    errors
    kubernetes {DOMAIN} {{
        kubeconfig {kubeconfig} trimtab
        pods insecure
        ttl 1
    }}
}}
.:53 {{
    bind {ADDRESS}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def _proxy(kubeconfig: Path, health_port: int, metrics_port: int) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": NODE,
        "clusterCIDR": PODS,
        # The machine's own limits stay as they are.
        "conntrack": {"maxPerCore": 0},
        "oomScoreAdj": 0,
        "healthzBindAddress": f"127.0.0.1:{health_port}",
        "metricsBindAddress": f"127.0.0.1:{metrics_port}",
    }
