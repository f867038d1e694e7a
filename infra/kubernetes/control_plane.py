"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler on this machine, on free ports."""

from __future__ import annotations

import secrets
import ssl
from pathlib import Path
from typing import Any

import httpx
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from infra.kubernetes.processes import Processes
from infra.kubernetes.tools import build_tools
from infra.local.ports import free_ports

SERVICES = "10.96.0.0/16"
_LOOPBACK = "127.0.0.1"


class ControlPlane:
    """One Kubernetes without nodes. Everything it writes is in `folder`.

    `address`: where the API server listens; with real pods, their bridge's.
    """

    def __init__(self, folder: Path, processes: Processes, address: str = _LOOPBACK) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.token = secrets.token_hex(16)
        self.certificate = folder / "certificates" / "apiserver.crt"
        self.key = folder / "certificates" / "apiserver.key"
        self._processes = processes
        self._address = address
        self._port = 0

    def start(self) -> None:
        """Returns once the API server is ready."""
        tools = build_tools(["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"])
        self.folder.mkdir(parents=True, exist_ok=True)
        client, peer, self._port, controllers, scheduler = free_ports(5)
        self._write_secrets()
        self._processes.start("etcd", [tools / "etcd", *_etcd(self.folder, client, peer)])
        self._processes.start(
            "kube-apiserver", [tools / "kube-apiserver", *self._apiserver(client)]
        )
        self._processes.wait_until(self._is_ready, "the API server's /readyz")
        self.kubeconfig.write_text(self.kubeconfig_for(self.token))
        common = [
            "--kubeconfig",
            str(self.kubeconfig),
            "--bind-address",
            _LOOPBACK,
            "--leader-elect=false",
        ]
        self._processes.start(
            "kube-controller-manager",
            [tools / "kube-controller-manager", *common, *self._controllers(controllers)],
        )
        self._processes.start(
            "kube-scheduler", [tools / "kube-scheduler", *common, "--secure-port", str(scheduler)]
        )

    def stop(self) -> None:
        """The API server before etcd, which it would miss."""
        for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            self._processes.stop(name)

    @property
    def url(self) -> str:
        return f"https://{self._address}:{self._port}"

    def kubeconfig_for(self, token: str) -> str:
        """The text of a kubeconfig whose user is known by the token."""
        cluster: dict[str, Any] = {
            "server": self.url,
            "certificate-authority": str(self.certificate),
            # In its own certificate the server has that name, whatever it is bound to.
            "tls-server-name": "kubernetes.default.svc",
        }
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "trimtab", "cluster": cluster}],
                "users": [{"name": "user", "user": {"token": token}}],
                "contexts": [
                    {"name": "trimtab", "context": {"cluster": "trimtab", "user": "user"}}
                ],
                "current-context": "trimtab",
            }
        )

    def _write_secrets(self) -> None:
        """An administrator's token, and the key that signs the tokens of service accounts."""
        (self.folder / "tokens.csv").write_text(f'{self.token},admin,admin,"system:masters"\n')
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        (self.folder / "accounts.key").write_bytes(pem)

    def _apiserver(self, etcd_port: int) -> list[str]:
        key = str(self.folder / "accounts.key")
        on_loopback = self._address == _LOOPBACK
        options = {
            "etcd-servers": f"http://{_LOOPBACK}:{etcd_port}",
            "bind-address": self._address,
            "advertise-address": self._address,
            "secure-port": self._port,
            "cert-dir": self.certificate.parent,
            "service-cluster-ip-range": SERVICES,
            "endpoint-reconciler-type": "none" if on_loopback else "lease",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": key,
            "service-account-signing-key-file": key,
            "token-auth-file": self.folder / "tokens.csv",
            "authorization-mode": "Node,RBAC",
            "allow-privileged": "true",
            # A node's name is in no DNS.
            "kubelet-preferred-address-types": "InternalIP",
        }
        return [f"--{name}={value}" for name, value in options.items()]

    def _controllers(self, port: int) -> list[str]:
        options = {
            "secure-port": port,
            "service-account-private-key-file": self.folder / "accounts.key",
            "root-ca-file": self.certificate,
            "horizontal-pod-autoscaler-sync-period": "1s",
        }
        return [f"--{name}={value}" for name, value in options.items()]

    def _is_ready(self) -> bool:
        if not self.certificate.exists():
            return False
        try:
            reply = httpx.get(
                f"{self.url}/readyz",
                headers={"Authorization": f"Bearer {self.token}"},
                verify=_trusting(self.certificate),
                timeout=2,
                trust_env=False,
            )
        except (httpx.HTTPError, ssl.SSLError):
            return False
        return reply.status_code == httpx.codes.OK


def _etcd(folder: Path, client: int, peer: int) -> list[str]:
    here, there = f"http://{_LOOPBACK}:{client}", f"http://{_LOOPBACK}:{peer}"
    options = {
        "data-dir": folder / "etcd",
        "listen-client-urls": here,
        "advertise-client-urls": here,
        "listen-peer-urls": there,
        "initial-advertise-peer-urls": there,
        "initial-cluster": f"default={there}",
    }
    # What is lost when the machine dies is a test.
    return [*(f"--{name}={value}" for name, value in options.items()), "--unsafe-no-fsync"]


def _trusting(certificate: Path) -> ssl.SSLContext:
    """The certificate is for the server's name in the cluster, not for its address here."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    return context
