"""The platform on the real node, as tests reach it: by the README, its Services, and its command line."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from infra.kubernetes.cluster import Cluster
from infra.kubernetes.processes import run
from infra.kubernetes.real_cluster import RealCluster
from infra.kubernetes.tools import tool
from infra.local.paths import REPO
from tests.chart.platform_images import SMALL, load_all, write_values

NAMESPACE = "trimtab"


def installed(cluster: RealCluster, own: Path, env: Mapping[str, str]) -> Iterator[RealCluster]:
    """By the small values and what the node lacks; every service is told `env`."""
    load_all(cluster)
    cluster.add_volumes(6)
    more = f" -f {write_values(own, env)} --timeout 20m"
    in_a_shell(cluster, of_the_readme("helm install trimtab") + more, timeout_s=1500)
    yield cluster
    cluster.helm("uninstall", "trimtab", "-n", NAMESPACE, "--wait", "--ignore-not-found")


def in_a_shell(cluster: RealCluster, commands: str, timeout_s: float = 300.0) -> str:
    """What they print, run in the root of the repository. Raises CommandFailed."""
    programs = [f'{name}() {{ {tool(name)} "$@"; }}' for name in ("kubectl", "helm")]
    script = "\n".join(["set -euo pipefail", f"cd {REPO}", *programs, commands])
    return run(["bash", "-c", script], environment=cluster.environment(), timeout_s=timeout_s)


def of_the_readme(begins: str) -> str:
    """The command of the chart's README that begins so."""
    text = (SMALL.parent / "README.md").read_text()
    found = re.search(rf"(?:`|^ *)({re.escape(begins)}(?:\\\n|[^`\n])*)", text, re.MULTILINE)
    assert found is not None, begins
    return found[1]


def pods(cluster: RealCluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("pods", namespace=NAMESPACE)["items"]
    return found


def address(cluster: RealCluster, service: str) -> str:
    """Of the Service's first port; this machine's kube-proxy knows it."""
    spec = cluster.get("service", f"trimtab-{service}", NAMESPACE)["spec"]
    return f"{spec['clusterIP']}:{spec['ports'][0]['port']}"


def api_key(cluster: RealCluster) -> str:
    secret = cluster.get("secret", "trimtab-secrets", NAMESPACE)["data"]["api-key"]
    return base64.b64decode(secret).decode()


class Client:
    """Chats through the gateway's Service."""

    def __init__(self, cluster: RealCluster, user: str) -> None:
        headers = {"authorization": f"Bearer {api_key(cluster)}", "x-trimtab-user": user}
        base = f"http://{address(cluster, 'gateway')}"
        self._http = httpx.Client(base_url=base, headers=headers, timeout=120, trust_env=False)

    def say(self, *texts: str) -> httpx.Response:
        """The user's texts and the assistant's, in turn."""
        roles = ("user", "assistant")
        messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
        asked = {"model": "assistant", "max_tokens": 8, "messages": messages}
        return self._http.post("/v1/chat/completions", json=asked)


def trimtab(cluster: RealCluster, *words: str, stdin: str = "") -> Any:
    """The command line, in the gateway's pod."""
    line = "exec -i deployment/trimtab-gateway -c gateway -- trimtab --json".split()
    return json.loads(cluster.kubectl("-n", NAMESPACE, *line, *words, stdin=stdin))


def training_jobs(cluster: RealCluster) -> list[str]:
    """The names of the trainings' Jobs."""
    return [
        job["metadata"]["name"]
        for job in cluster.get("jobs", namespace=NAMESPACE)["items"]
        if job["metadata"]["labels"].get("app.kubernetes.io/component") == "training"
    ]


def left_of(cluster: Cluster, namespace: str = NAMESPACE) -> set[str]:
    """Every object of the release, of whatever kind."""
    kinds = cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    found = cluster.kubectl(
        "-n", namespace, "get", ",".join(kinds), "-l", "app.kubernetes.io/instance=trimtab",
        "-o", "name", "--ignore-not-found",
    )  # fmt: skip
    return set(found.split())
