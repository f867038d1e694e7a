"""The real node runs containers as Kubernetes promises: users, file systems, probes, Services, exit codes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.kubernetes.cluster import CommandFailed
from infra.kubernetes.fake_nodes import GPU
from infra.kubernetes.real_cluster import RealCluster
from tests.chart.conftest import BUSYBOX_IMAGE
from tests.polling import until

pytestmark = pytest.mark.real_node

USER = 65532
SERVE = "echo hello from $(hostname) > /www/index.html; exec busybox httpd -f -p 8080 -h /www"


def _pod(command: str, labels: dict[str, str], **container: Any) -> dict[str, Any]:
    """A template as PodSecurity's restricted level wants it."""
    main = {
        "name": "main",
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "Never",
        "args": [command],
        "volumeMounts": [{"name": "www", "mountPath": "/www"}],
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        **container,
    }
    security = {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "metadata": {"labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "securityContext": security,
            "volumes": [{"name": "www", "emptyDir": {}}],
            "containers": [main],
        },
    }


def _web(name: str, replicas: int, page: str) -> list[dict[str, Any]]:
    labels = {"app": name}
    probe = {"httpGet": {"path": page, "port": 8080}, "periodSeconds": 1}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": _pod(SERVE, labels, readinessProbe=probe),
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    return [deployment, service]


def _job(name: str, command: str, **container: Any) -> dict[str, Any]:
    template = _pod(command, {"job": name}, **container)
    template["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": template},
    }


def _pods(cluster: RealCluster, label: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(
        cluster.kubectl("get", "pods", "-l", label, "-o", "json")
    )["items"]
    return items


def test_two_pods_are_reached_through_their_service_from_a_job_that_asks_for_a_gpu(
    real_cluster: RealCluster,
) -> None:
    real_cluster.apply(_web("web", replicas=2, page="/index.html"))
    real_cluster.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    ask = "for i in $(busybox seq 20); do busybox wget -q -O - http://web.default.svc.cluster.local/; done"
    real_cluster.apply(_job("asks", ask, resources={"limits": {GPU: "1"}}))
    real_cluster.kubectl("wait", "--for=condition=Complete", "job/asks", "--timeout=90s")
    answers = real_cluster.kubectl("logs", "job/asks").splitlines()
    names = {pod["metadata"]["name"] for pod in _pods(real_cluster, "app=web")}
    assert len(answers) == 20
    assert set(answers) == {f"hello from {name}" for name in names}
    assert len(names) == 2


def test_a_pod_is_not_root_and_can_not_write_to_its_image(real_cluster: RealCluster) -> None:
    real_cluster.apply(_web("plain", replicas=1, page="/index.html"))
    real_cluster.kubectl("rollout", "status", "deployment/plain", "--timeout=90s")
    inside = ("exec", "deployment/plain", "--", "busybox")
    assert real_cluster.kubectl(*inside, "id", "-u").strip() == str(USER)
    with pytest.raises(CommandFailed) as refused:
        real_cluster.kubectl(*inside, "touch", "/bin/more")
    assert "Read-only file system" in refused.value.stderr


def test_a_pod_whose_probe_fails_gets_no_traffic(real_cluster: RealCluster) -> None:
    real_cluster.apply(_web("sick", replicas=1, page="/not-there"))

    def told() -> bool:
        events = real_cluster.kubectl(
            "get", "events", "--field-selector=reason=Unhealthy", "-o", "json"
        )
        messages = [one["message"] for one in json.loads(events)["items"]]
        return any("statuscode: 404" in message for message in messages)

    until(told, "the failure of the probe", 90)
    slices = real_cluster.kubectl(
        "get", "endpointslices", "-l", "kubernetes.io/service-name=sick", "-o", "json"
    )
    [one] = json.loads(slices)["items"]
    assert [end["conditions"]["ready"] for end in one["endpoints"]] == [False]


def test_a_job_that_fails_leaves_its_exit_code_and_its_last_words(
    real_cluster: RealCluster,
) -> None:
    real_cluster.apply(_job("fails", "echo out of luck; exit 3"))
    real_cluster.kubectl("wait", "--for=condition=Failed", "job/fails", "--timeout=90s")
    [pod] = _pods(real_cluster, "job=fails")
    [container] = pod["status"]["containerStatuses"]
    assert container["state"]["terminated"]["exitCode"] == 3
    assert real_cluster.kubectl("logs", "job/fails") == "out of luck\n"
