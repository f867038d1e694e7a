"""The chart on a real control plane: installed, upgraded, rolled back, uninstalled, tested, refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.kubernetes.cluster import CommandFailed, FakeCluster
from tests.chart.on_the_node import left_of
from tests.chart.rendering import (
    CHART,
    FILES,
    helm_template,
    rendered,
    training_job,
    values_file,
)
from tests.settings import SERVICES

# On fake nodes nothing binds claims.
_ANYWHERE: dict[str, Any] = {"volume": {"emptyDir": {}}}
MODELS: dict[str, Any] = {"volume": {"hostPath": None, "emptyDir": {}}}
VOLUMES = {
    "storage": dict.fromkeys(("adapters", "training", "archive"), _ANYWHERE),
    "models": MODELS,
    "kafka": {"trial": _ANYWHERE},
    "postgresql": {"trial": _ANYWHERE},
    "mlflow": {"trial": _ANYWHERE},
}
KEPT = ("adapters", "archive", "training")


@pytest.fixture
def values(tmp_path: Path) -> str:
    path = tmp_path / "values.yaml"
    path.write_text(json.dumps(VOLUMES))  # JSON is YAML
    return str(path)


def install(
    cluster: FakeCluster, namespace: str, values: str, *words: str, file: str = "small"
) -> str:
    files = ["-f", str(values_file(file)), "-f", values]
    options = ["-n", namespace, *files, "--wait", "--timeout=120s", *words]
    return cluster.helm("upgrade", "--install", "trimtab", str(CHART), *options)


def ready_of(cluster: FakeCluster, namespace: str) -> dict[str, int]:
    return {
        one["metadata"]["name"].removeprefix("trimtab-"): one["status"].get("readyReplicas", 0)
        for kind in ("deployments", "statefulsets")
        for one in cluster.get(kind, namespace=namespace)["items"]
    }


def revisions(cluster: FakeCluster, namespace: str) -> list[tuple[int, str]]:
    told = cluster.helm("history", "trimtab", "-n", namespace, "-o", "json")
    return [(one["revision"], one["status"]) for one in json.loads(told)]


def test_everything_starts_and_the_notes_say_the_next_command(
    cluster: FakeCluster, namespace: str, values: str
) -> None:
    told = install(cluster, namespace, values)
    assert f"helm test trimtab --namespace {namespace} --logs" in told
    parts = {*SERVICES, "vllm-base", "kafka", "postgresql", "mlflow"}
    assert ready_of(cluster, namespace) == dict.fromkeys(parts, 1)
    secrets = cluster.get("secret", "trimtab-secrets", namespace)["data"]
    assert set(secrets) == {
        "api-key",
        "gateway-keys",
        "internal-token",
        "link-secret",
        "redaction-key",
    }


def test_an_upgrade_keeps_secrets_and_runs_its_hooks(
    cluster: FakeCluster, namespace: str, values: str
) -> None:
    install(cluster, namespace, values)
    before = cluster.get("secret", "trimtab-secrets", namespace)["data"]
    install(cluster, namespace, values, "--set", "gateway.replicas=3", "--set", "vllm.replicas=2")
    assert cluster.get("secret", "trimtab-secrets", namespace)["data"] == before
    ready = ready_of(cluster, namespace)
    assert (ready["gateway"], ready["vllm-base"]) == (3, 2)
    events = cluster.get("events", namespace=namespace)["items"]
    done = {one["involvedObject"]["name"] for one in events if one["reason"] == "Completed"}
    assert {"trimtab-migrations", "trimtab-topics"} <= done
    assert not cluster.get("jobs", namespace=namespace)["items"]


def test_an_upgrade_that_fails_goes_back(cluster: FakeCluster, namespace: str, values: str) -> None:
    install(cluster, namespace, values)
    broken = ["drift.extra.annotations.fake\\.trimtab/never-ready=true", "drift.env.BROKEN=yes"]
    words = [word for one in broken for word in ("--set-string", one)]
    with pytest.raises(CommandFailed, match="rolled back"):
        install(cluster, namespace, values, "--atomic", "--timeout=20s", *words)
    assert revisions(cluster, namespace) == [
        (1, "superseded"),
        (2, "failed"),
        (3, "deployed"),
    ]
    pod = cluster.get("deployment", "trimtab-drift", namespace)["spec"]["template"]
    assert "BROKEN" not in json.dumps(pod)
    assert ready_of(cluster, namespace)["drift"] == 1


def test_a_migration_that_fails_stops_the_upgrade_before_any_service_changed(
    cluster: FakeCluster, namespace: str, values: str
) -> None:
    install(cluster, namespace, values)
    hook = '{"fake.trimtab/exit-code": "1"}'
    with pytest.raises(CommandFailed, match="pre-upgrade"):
        install(
            cluster, namespace, values, "--set-json", f"pods.annotations={hook}",
            "--set", "hooks.retries=0", "--set", "drift.replicas=2",
        )  # fmt: skip
    assert cluster.get("deployment", "trimtab-drift", namespace)["spec"]["replicas"] == 1
    assert [status for _, status in revisions(cluster, namespace)] == ["deployed", "failed"]


@contextmanager
def volumes_for_claims(cluster: FakeCluster, namespace: str) -> Iterator[None]:
    """What a storage class would do."""
    names = [f"{namespace}-{number}" for number in range(6)]
    for name in names:
        spec = {
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": f"/srv/{name}"},
            "persistentVolumeReclaimPolicy": "Retain",
        }
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": spec,
            }
        )
    try:
        yield
    finally:
        cluster.kubectl("delete", "pv", *names, "--wait=false")


def test_an_uninstall_leaves_what_was_stored_and_an_installation_finds_it_again(
    cluster: FakeCluster, namespace: str, tmp_path: Path
) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(json.dumps({"models": MODELS}))
    with volumes_for_claims(cluster, namespace):
        install(cluster, namespace, str(path))
        cluster.helm("test", "trimtab", "-n", namespace)
        password = cluster.get("secret", "trimtab-postgresql", namespace)["data"]
        cluster.helm("uninstall", "trimtab", "-n", namespace, "--wait")
        wait_for_end(cluster, namespace)
        claims = [f"trimtab-{name}" for name in KEPT]
        claims += [f"data-trimtab-{name}-0" for name in ("kafka", "postgresql", "mlflow")]
        kept = {f"persistentvolumeclaim/{name}" for name in claims}
        kept |= {"secret/trimtab-secrets", "secret/trimtab-postgresql"}
        assert left_of(cluster, namespace) - {"pod/trimtab-test"} == kept
        install(cluster, namespace, str(path))
        assert cluster.get("secret", "trimtab-postgresql", namespace)["data"] == password


def wait_for_end(cluster: FakeCluster, namespace: str) -> None:
    """Until the garbage collector has removed what its owners have left."""
    words = ["--for=delete", "pods,endpointslices", "-l", "app.kubernetes.io/component!=client"]
    cluster.kubectl("-n", namespace, "wait", *words, "--timeout=60s")


def test_helm_test_says_whether_it_works(cluster: FakeCluster, namespace: str, values: str) -> None:
    install(cluster, namespace, values)
    told = cluster.helm("test", "trimtab", "-n", namespace)
    assert "Phase:          Succeeded" in told
    failing = '{"fake.trimtab/exit-code": "1"}'
    install(cluster, namespace, values, "--no-hooks", "--set-json", f"pods.annotations={failing}")
    with pytest.raises(CommandFailed):
        cluster.helm("test", "trimtab", "-n", namespace)


def test_too_few_gpus_say_so(cluster: FakeCluster, namespace: str, values: str) -> None:
    gpus = ["--set", "vllm.device=gpu", "--set", "vllm.gpus=3", "--timeout=15s"]
    tolerated = '{"tolerations":[{"key":"nvidia.com/gpu","operator":"Exists"}]}'
    with pytest.raises(CommandFailed):
        install(cluster, namespace, values, *gpus, "--set-json", f"vllm.extra={tolerated}")
    pod = cluster.get("pod", "trimtab-vllm-base-0", namespace)
    [scheduled] = [one for one in pod["status"]["conditions"] if one["type"] == "PodScheduled"]
    assert scheduled["reason"] == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in scheduled["message"]


def test_vllm_runs_on_gpu_nodes_and_nothing_else_does(
    cluster: FakeCluster, namespace: str, values: str
) -> None:
    gpus = ["--set", "vllm.device=gpu", "--set", "vllm.replicas=2"]
    tolerated = '{"tolerations":[{"key":"nvidia.com/gpu","operator":"Exists"}]}'
    install(cluster, namespace, values, *gpus, "--set-json", f"vllm.extra={tolerated}")
    nodes: dict[str, set[str]] = {}
    for pod in cluster.get("pods", namespace=namespace)["items"]:
        part = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        nodes.setdefault(part, set()).add(pod["spec"]["nodeName"])
    assert nodes.pop("vllm") <= {"gpu-1", "gpu-2"}
    assert set().union(*nodes.values()) == {"cpu-1"}


VARIANTS = [
    *((name, ()) for name in FILES),
    ("small", ("state=sqlite", "postgresql.trial.enabled=false")),
    ("several-nodes", ("retrain.trainer=trainjob",)),
    (
        "several-nodes",
        (
            "vllm.inferencePool.enabled=true",
            "vllm.inferencePool.picker.name=picker",
            "vllm.inferencePool.url=http://router",
        ),
    ),
]


@pytest.mark.parametrize(("file", "sets"), VARIANTS)
def test_the_server_takes_every_object(
    cluster: FakeCluster, namespace: str, file: str, sets: tuple[str, ...]
) -> None:
    words = [word for one in sets for word in ("--set", one)]
    text = helm_template(file, *words).replace("namespace: trials", f"namespace: {namespace}")
    told = cluster.apply(text, "-n", namespace, "--dry-run=server", "--validate=strict")
    assert told.count("(server dry run)") == len(rendered(file, *sets))
    job = training_job(rendered(file, *sets))
    job["metadata"] |= {"namespace": namespace, "name": "training"}
    cluster.apply(job, "-n", namespace, "--dry-run=server", "--validate=strict")


def test_pod_security_restricted_lets_every_pod_in(
    cluster: FakeCluster, namespace: str, values: str
) -> None:
    cluster.kubectl("label", "ns", namespace, "pod-security.kubernetes.io/enforce=restricted")
    install(cluster, namespace, values)
    assert set(ready_of(cluster, namespace).values()) == {1}
    cluster.helm("test", "trimtab", "-n", namespace)
    job = training_of(cluster, namespace)
    told = cluster.apply(job, "-n", namespace, "--dry-run=server")
    assert "Warning" not in told


def training_of(cluster: FakeCluster, namespace: str) -> dict[str, Any]:
    data = cluster.get("configmap", "trimtab-training-job", namespace)["data"]
    job: dict[str, Any] = yaml.safe_load(data["job.yaml"])
    job["metadata"]["name"] = "training"
    return job


def test_retrains_account_may_do_what_it_must_and_no_more(
    cluster: FakeCluster, namespace: str, values: str
) -> None:
    install(cluster, namespace, values)

    def may(account: str, verb: str, kind: str, where: str = namespace) -> bool:
        who = f"--as=system:serviceaccount:{namespace}:trimtab-{account}"
        try:
            cluster.kubectl("auth", "can-i", verb, kind, who, "-n", where, "-q")
        except CommandFailed:
            return False
        return True

    for verb in ("create", "get", "list", "watch", "delete"):
        assert may("retrain", verb, "jobs.batch"), verb
    assert may("retrain", "get", "pods/log")
    refused = [
        ("create", "pods"),
        ("patch", "jobs.batch"),
        ("get", "secrets"),
        ("get", "configmaps"),
        ("create", "pods/exec"),
        ("list", "nodes"),
        ("create", "trainjobs.trainer.kubeflow.org"),
    ]
    for verb, kind in refused:
        assert not may("retrain", verb, kind), f"{verb} {kind}"
    assert not may("retrain", "create", "jobs.batch", "default")
    for account in ({*SERVICES} - {"retrain"}) | {"vllm", "training", "trial"}:
        assert not may(account, "list", "pods"), account
