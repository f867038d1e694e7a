"""What pods may do: PodSecurity restricted, no token but retrain's, and who reaches which port."""

import re

import pytest

from infra.local.paths import REPO
from tests.chart.rendering import (
    FILES,
    Manifest,
    of_kind,
    pod_specs,
    rendered,
    training_job,
)
from tests.settings import SERVICES

# Those of the name service.
CALLS = re.compile(r"common\.([a-z]+)_address")


@pytest.mark.parametrize("file", FILES)
def test_every_pod_is_restricted(file: str) -> None:
    seen = 0
    for where, pod in pod_specs(rendered(file)):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, where
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, where
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            allowed = container["securityContext"]
            assert allowed["allowPrivilegeEscalation"] is False, where
            assert allowed["readOnlyRootFilesystem"] is True, where
            assert allowed["capabilities"] == {"drop": ["ALL"]}, where
            mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert "/tmp" in mounted, where
            seen += 1
    assert seen > 12


@pytest.mark.parametrize("file", FILES)
def test_only_retrain_has_a_token(file: str) -> None:
    with_token = [
        where for where, pod in pod_specs(rendered(file)) if pod["automountServiceAccountToken"]
    ]
    assert with_token == ["Deployment trial-trimtab-retrain"]
    accounts = of_kind(rendered(file), "ServiceAccount").values()
    assert not any(one["automountServiceAccountToken"] for one in accounts)


def test_a_retrain_that_trains_by_itself_needs_no_rights() -> None:
    objects = rendered("small", "retrain.trainer=process")
    assert not any(pod["automountServiceAccountToken"] for _, pod in pod_specs(objects))
    assert not of_kind(objects, "Role")
    assert not of_kind(objects, "RoleBinding")
    pod = of_kind(objects, "Deployment")["retrain"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "trimtab-train:0.1.0"


def rules_of(role: Manifest) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_retrain_may_start_and_watch_trainings_and_nothing_else() -> None:
    verbs = {"create", "get", "list", "watch", "delete"}
    jobs = {
        ("batch", "jobs"): verbs,
        ("", "pods"): {"get", "list"},
        ("", "pods/log"): {"get"},
        ("", "configmaps"): {"get"},
    }
    assert rules_of(of_kind(rendered("one-gpu"), "Role")["retrain"]) == jobs
    by_trainer = rendered("one-gpu", "retrain.trainer=trainjob")
    wanted = jobs | {("trainer.kubeflow.org", "trainjobs"): verbs}
    assert rules_of(of_kind(by_trainer, "Role")["retrain"]) == wanted
    rules = of_kind(by_trainer, "Role")["retrain"]["rules"]
    (of_config_maps,) = [one for one in rules if one["resources"] == ["configmaps"]]
    assert of_config_maps["resourceNames"] == ["trial-trimtab-training-job"]
    assert "training-job" in of_kind(by_trainer, "ConfigMap")
    binding = of_kind(by_trainer, "RoleBinding")["retrain"]
    assert [one["name"] for one in binding["subjects"]] == ["trial-trimtab-retrain"]


def callers(policy: Manifest) -> set[str]:
    """The parts of the release that a policy lets in."""
    return {
        name
        for rule in policy["spec"]["ingress"]
        for peer in rule.get("from", [])
        for expression in peer.get("podSelector", {}).get("matchExpressions", [])
        for name in expression["values"]
    }


def users_of(pattern: str) -> set[str]:
    """The services whose code says it."""
    return {
        service
        for service in SERVICES
        for file in (REPO / "services" / service).rglob("*.py")
        if re.search(pattern, file.read_text())
    }


@pytest.mark.parametrize("file", FILES)
def test_only_those_who_ask_the_engine_reach_it(file: str) -> None:
    policy = of_kind(rendered(file), "NetworkPolicy")["vllm"]
    assert callers(policy) == {"gateway", "registry", "feedback", "evaluation"}
    assert callers(policy) == users_of(r"common\.vllm_replicas")
    ports = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert ports == {8000}
    others = [rule for rule in policy["spec"]["ingress"] if "from" not in rule]
    assert others == []


def test_a_service_is_reached_by_those_who_call_it() -> None:
    policies = of_kind(rendered("small"), "NetworkPolicy")
    for service in SERVICES:
        called = {
            callee
            for file in (REPO / "services" / service).rglob("*.py")
            for callee in CALLS.findall(file.read_text())
        }
        for callee in called:
            assert service in callers(policies[callee]), f"{service} calls {callee}"
    # The page asks all of them, and all but it follow interaction's keys.
    for callee in set(SERVICES) - {"dashboard"}:
        assert "dashboard" in callers(policies[callee])
    assert callers(policies["interaction"]) == set(SERVICES) - {"interaction"} | {"client"}


def test_a_trials_stores_are_reached_by_those_who_use_them() -> None:
    policies = of_kind(rendered("small"), "NetworkPolicy")
    stateful = set(SERVICES) - {"dashboard"}
    assert callers(policies["kafka"]) == stateful | {"topics"}
    assert callers(policies["postgresql"]) == stateful | {"migrations"}
    assert callers(policies["mlflow"]) == users_of(r"common\.mlflow_url") | {"client"}


def test_the_policies_select_what_they_are_named_for() -> None:
    objects = rendered("several-nodes")
    pods = [
        *of_kind(objects, "Deployment").values(),
        *of_kind(objects, "StatefulSet").values(),
        training_job(objects),
    ]
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in pods]
    for name, policy in of_kind(objects, "NetworkPolicy").items():
        selector = policy["spec"]["podSelector"]["matchLabels"]
        found = [one for one in labels if selector.items() <= one.items()]
        assert [one["app.kubernetes.io/component"] for one in found] == [name]


def test_whoever_may_see_metrics_is_named() -> None:
    for name, policy in of_kind(rendered("several-nodes"), "NetworkPolicy").items():
        peers = [
            (port["port"], peer)
            for rule in policy["spec"]["ingress"]
            for peer in rule.get("from", [])
            for port in rule.get("ports", [])
            if "namespaceSelector" in peer
        ]
        if name != "training":
            assert len(peers) == 1, name
