"""What the cluster enforces: the tests of the chart mean something only if it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.kubernetes import schemas
from infra.kubernetes.cluster import CommandFailed, FakeCluster
from infra.kubernetes.fake_nodes import EXIT_CODE, GPU, NEVER_READY, RUNS_FOR
from tests.polling import until


def _pod(name: str, gpus: int = 0, **spec: Any) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "main", "image": "example.invalid/image:1"}
    if gpus:
        container["resources"] = {"limits": {GPU: str(gpus)}}
    tolerations = [{"key": GPU, "operator": "Exists"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], "tolerations": tolerations, **spec},
    }


def _job(name: str, annotations: dict[str, str]) -> dict[str, Any]:
    template = _pod("unnamed", restartPolicy="Never")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"annotations": annotations}, "spec": template["spec"]},
        },
    }


def _condition(thing: dict[str, Any], kind: str) -> dict[str, Any]:
    conditions = thing.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


def _pods_of(cluster: FakeCluster, namespace: str, job: str) -> list[dict[str, Any]]:
    found = cluster.kubectl("-n", namespace, "get", "pods", "-l", f"job-name={job}", "-o", "json")
    pods: list[dict[str, Any]] = json.loads(found)["items"]
    return pods


def test_a_pod_that_fits_is_placed_on_a_gpu_node_and_gets_ready(
    cluster: FakeCluster, namespace: str
) -> None:
    cluster.apply(_pod("fits", gpus=2), "-n", namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/fits", "--timeout=30s")
    assert cluster.get("pod", "fits", namespace)["spec"]["nodeName"] in ("gpu-1", "gpu-2")


def test_a_pod_without_gpus_stays_off_the_tainted_nodes(
    cluster: FakeCluster, namespace: str
) -> None:
    cluster.apply(_pod("plain", tolerations=[]), "-n", namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/plain", "--timeout=30s")
    assert cluster.get("pod", "plain", namespace)["spec"]["nodeName"] == "cpu-1"


def test_a_pod_that_asks_for_too_many_gpus_stays_pending_and_says_why(
    cluster: FakeCluster, namespace: str
) -> None:
    cluster.apply(_pod("greedy", gpus=3), "-n", namespace)
    told = until(
        lambda: _condition(cluster.get("pod", "greedy", namespace), "PodScheduled"),
        "the scheduler's word",
        30,
    )
    assert (told["status"], told["reason"]) == ("False", "Unschedulable")
    assert f"3 Insufficient {GPU}" in told["message"]
    assert cluster.get("pod", "greedy", namespace)["status"]["phase"] == "Pending"


def test_a_node_that_is_added_takes_the_pod_that_waited(
    cluster: FakeCluster, namespace: str
) -> None:
    cluster.apply(_pod("waits", gpus=8), "-n", namespace)
    cluster.add_node("gpu-large", gpus=8)
    try:
        wait = ("wait", "--for=condition=Ready", "pod/waits", "--timeout=30s")
        cluster.kubectl("-n", namespace, *wait)
        assert cluster.get("pod", "waits", namespace)["spec"]["nodeName"] == "gpu-large"
    finally:
        cluster.remove_node("gpu-large")


def test_a_quota_is_kept(cluster: FakeCluster, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "create", "quota", "few", f"--hard=requests.{GPU}=1")
    until(
        lambda: cluster.get("quota", "few", namespace).get("status", {}).get("hard"),
        "the quota",
        30,
    )
    with pytest.raises(CommandFailed) as refused:
        cluster.apply(_pod("two", gpus=2), "-n", namespace)
    assert "exceeded quota: few" in refused.value.stderr
    cluster.apply(_pod("one", gpus=1), "-n", namespace)


def test_pod_security_refuses_what_is_not_restricted(cluster: FakeCluster, namespace: str) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "namespace", namespace, label)
    with pytest.raises(CommandFailed) as refused:
        cluster.apply(_pod("as-root"), "-n", namespace)
    assert 'violates PodSecurity "restricted:latest"' in refused.value.stderr
    assert "runAsNonRoot != true" in refused.value.stderr


def test_a_service_account_may_do_what_its_role_says_and_nothing_else(
    cluster: FakeCluster, namespace: str
) -> None:
    here = ("-n", namespace)
    cluster.kubectl(*here, "create", "serviceaccount", "trainer")
    cluster.kubectl(*here, "create", "role", "jobs", "--verb=create,list", "--resource=jobs")
    who = f"--serviceaccount={namespace}:trainer"
    cluster.kubectl(*here, "create", "rolebinding", "jobs", "--role=jobs", who)
    own = cluster.kubeconfig_as("trainer", namespace)
    assert cluster.kubectl(*here, "get", "jobs", "-o", "name", kubeconfig=own) == ""
    for refused in (
        ("get", "secrets"),
        ("delete", "job", "some"),
        ("-n", "default", "get", "jobs"),
    ):
        with pytest.raises(CommandFailed) as failed:
            cluster.kubectl(*here, *refused, kubeconfig=own)
        assert "Forbidden" in failed.value.stderr
        assert f"system:serviceaccount:{namespace}:trainer" in failed.value.stderr


def test_a_job_completes(cluster: FakeCluster, namespace: str) -> None:
    cluster.apply(_job("good", {}), "-n", namespace)
    cluster.kubectl(
        "-n", namespace, "wait", "--for=condition=Complete", "job/good", "--timeout=30s"
    )
    assert cluster.get("job", "good", namespace)["status"]["succeeded"] == 1


def test_a_job_fails_with_its_exit_code(cluster: FakeCluster, namespace: str) -> None:
    cluster.apply(_job("bad", {EXIT_CODE: "3"}), "-n", namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Failed", "job/bad", "--timeout=30s")
    assert (
        _condition(cluster.get("job", "bad", namespace), "Failed")["reason"]
        == "BackoffLimitExceeded"
    )
    [pod] = _pods_of(cluster, namespace, "bad")
    [container] = pod["status"]["containerStatuses"]
    assert pod["status"]["phase"] == "Failed"
    assert container["state"]["terminated"]["exitCode"] == 3


def test_a_job_runs_for_as_long_as_it_is_told_or_until_its_pod_is_ended(
    cluster: FakeCluster, namespace: str
) -> None:
    cluster.apply(_job("long", {RUNS_FOR: "1h"}), "-n", namespace)

    def running() -> list[dict[str, Any]]:
        pods = _pods_of(cluster, namespace, "long")
        return [one for one in pods if one["status"]["phase"] == "Running"]

    [pod] = until(running, "a running pod", 30)
    assert cluster.get("job", "long", namespace)["status"]["active"] == 1
    cluster.end_pod(pod["metadata"]["name"], namespace, exit_code=137)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Failed", "job/long", "--timeout=30s")


def test_a_deployment_whose_pods_never_get_ready_is_not_available(
    cluster: FakeCluster, namespace: str
) -> None:
    template = _pod("unnamed")
    labels = {"app": "stuck"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "stuck"},
        "spec": {
            "progressDeadlineSeconds": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {NEVER_READY: "true"}},
                "spec": template["spec"],
            },
        },
    }
    cluster.apply(deployment, "-n", namespace)

    def given_up() -> dict[str, Any]:
        found = cluster.get("deployment", "stuck", namespace)
        reason = _condition(found, "Progressing").get("reason")
        return found if reason == "ProgressDeadlineExceeded" else {}

    found = until(given_up, "the end of the deployment's patience", 30)
    assert _condition(found, "Available")["status"] == "False"
    assert found["status"]["unavailableReplicas"] == 1


def test_logs_are_what_the_test_wrote(cluster: FakeCluster, namespace: str) -> None:
    cluster.apply(_pod("talks"), "-n", namespace)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/talks", "--timeout=30s")
    cluster.container_logs.write_text("2026-01-02T03:04:05.000000000Z stdout F step 1 of 2\n")
    assert cluster.kubectl("-n", namespace, "logs", "talks") == "step 1 of 2\n"


def test_schemas_know_the_custom_resources_and_refuse_what_the_server_would(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    assert schemas.write_schemas(cluster, tmp_path) > 100
    kinds = [
        "deployment-apps-v1",
        "pod-v1-v1",
        "scaledobject-keda.sh-v1alpha1",
        "servicemonitor-monitoring.coreos.com-v1",
        "certificate-cert-manager.io-v1",
        "httproute-gateway.networking.k8s.io-v1",
        "inferencepool-inference.networking.k8s.io-v1",
        "trainjob-trainer.kubeflow.org-v1alpha1",
        "jobset-jobset.x-k8s.io-v1alpha2",
        "localqueue-kueue.x-k8s.io-v1beta1",
    ]
    assert [kind for kind in kinds if not (tmp_path / f"{kind}.json").exists()] == []
    good = _pod("good")
    assert "Valid: 1" in schemas.check(json.dumps(good), tmp_path)
    for wrong in ({"containers": "none"}, {"containers": [], "restartPolice": "Never"}):
        with pytest.raises(CommandFailed) as refused:
            schemas.check(json.dumps(good | {"spec": wrong}), tmp_path)
        assert "Invalid: 1" in refused.value.stdout
