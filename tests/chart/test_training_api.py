"""A real cluster's API, as retrain's service account: what the in-memory twin is held to, and what only a real
one says."""

from pathlib import Path

import pytest

from infra.kubernetes.cluster import CommandFailed, FakeCluster
from infra.local.ports import free_ports
from services.retrain.adapters.cluster.api import JOB
from services.retrain.adapters.cluster.kubernetes_api import KubernetesApi, connect
from shared.language.errors import (
    FailedPrecondition,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from tests.chart.training import RULES, account
from tests.contract.retrain.clusters import ClusterContract, named
from tests.polling import until
from tests.unit.retrain.cluster import OWNER


@pytest.fixture
def kubeconfig(cluster: FakeCluster, namespace: str) -> Path:
    return account(cluster, namespace, RULES)


@pytest.fixture
def api(kubeconfig: Path, namespace: str) -> KubernetesApi:
    return connect(namespace, str(kubeconfig))


class TestKubernetesApi(ClusterContract):
    pass


def test_a_job_goes_with_its_owner(cluster: FakeCluster, namespace: str, api: KubernetesApi):
    cluster.kubectl("-n", namespace, "create", "configmap", OWNER)
    owned, other = named("a", "run-1"), named("b", "run-1")
    owned["metadata"]["ownerReferences"] = [api.owner(OWNER)]
    api.create(JOB, owned)
    api.create(JOB, other)
    cluster.kubectl("-n", namespace, "delete", "configmap", OWNER)
    until(lambda: api.get(JOB, "a") is None, "the end of the job")
    assert api.get(JOB, "b") is not None
    assert api.owner(OWNER) is None


@pytest.mark.parametrize(
    "words",
    [
        ("get", "secrets"),
        ("get", "configmaps"),
        ("create", "pods"),
        ("delete", "pods"),
        ("create", "pods/exec"),
        ("patch", "jobs.batch"),
        ("update", "jobs.batch"),
        ("deletecollection", "jobs.batch"),
        ("get", "deployments.apps"),
        ("list", "nodes"),
    ],
)
def test_its_account_may_do_nothing_else(
    cluster: FakeCluster, namespace: str, kubeconfig: Path, words: tuple[str, ...]
):
    with pytest.raises(CommandFailed):
        cluster.kubectl("-n", namespace, "auth", "can-i", *words, kubeconfig=kubeconfig)
    with pytest.raises(CommandFailed):
        cluster.kubectl("-n", "default", "auth", "can-i", "list", "jobs", kubeconfig=kubeconfig)


def test_a_right_that_is_missing_is_named(cluster: FakeCluster, namespace: str):
    rules = [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]}]
    api = connect(namespace, str(account(cluster, namespace, rules)))
    assert api.get(JOB, "a") is None
    with pytest.raises(
        PermissionDenied, match=r"create jobs\.batch in the namespace test-"
    ) as refused:
        api.create(JOB, named("a", "run-1"))
    assert f"system:serviceaccount:{namespace}:retrain" in refused.value.message


def test_a_quota_that_is_used_up_is_named(cluster: FakeCluster, namespace: str, api: KubernetesApi):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    cluster.apply({**quota, "metadata": {"name": "none", "namespace": namespace}})
    with pytest.raises(PermissionDenied, match="exceeded quota: none"):
        api.create(JOB, named("a", "run-1"))


def test_an_api_that_is_not_there_and_a_token_that_is_unknown(kubeconfig: Path, namespace: str):
    (port,) = free_ports(1)
    content = kubeconfig.read_text()
    address = next(word for word in content.split() if word.startswith(("https://", '"https://')))
    away = kubeconfig.with_name(f"{kubeconfig.name}-away")
    away.write_text(content.replace(address.strip('",'), f"https://127.0.0.1:{port}"))
    with pytest.raises(Unavailable, match="the cluster's API does not answer"):
        connect(namespace, str(away)).get(JOB, "a")
    token = next(word for word in content.split() if len(word) > 400).strip('",}')
    unknown = kubeconfig.with_name(f"{kubeconfig.name}-unknown")
    unknown.write_text(content.replace(token, "nobody"))
    with pytest.raises(Unauthenticated, match="does not know the credentials"):
        connect(namespace, str(unknown)).get(JOB, "a")


def test_without_a_cluster_it_is_said_where_one_is_named(tmp_path: Path):
    with pytest.raises(FailedPrecondition, match="name a file in KUBECONFIG") as refused:
        connect("", str(tmp_path / "nothing"))
    assert refused.value.reason == "NO_CLUSTER"
