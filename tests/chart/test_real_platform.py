"""The whole platform in containers, by `helm install` of the small values: it starts and answers a chat."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from infra.kubernetes.cluster import CommandFailed
from infra.kubernetes.real_cluster import RealCluster
from tests.chart.on_the_node import (
    NAMESPACE,
    Client,
    in_a_shell,
    of_the_readme,
    pods,
    training_jobs,
    trimtab,
)
from tests.chart.platform_images import SMALL
from tests.polling import until

# Images are built the first time, and torch loads slowly where everything starts at once.
pytestmark = [pytest.mark.real_node, pytest.mark.platform, pytest.mark.timeout(3600)]

USER = "10001"
_ENDED = {f"RUN_STATE_{one}" for one in ("SUCCEEDED", "REJECTED", "FAILED")}


def test_all_parts_are_ready(platform: RealCluster) -> None:
    parts = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod
        for pod in pods(platform)
        if pod["status"]["phase"] != "Succeeded"  # a training that is over
    }
    services = "gateway interaction feedback reward evaluation drift retrain registry dashboard"
    assert set(f"{services} vllm kafka postgresql mlflow".split()) <= set(parts)
    for name, pod in parts.items():
        for container in pod["status"]["containerStatuses"]:
            assert container["ready"], name


def test_the_checks_of_the_chart_pass(platform: RealCluster) -> None:
    told = in_a_shell(platform, of_the_readme("helm test trimtab"))
    assert "Phase:          Succeeded" in told
    assert "chat:" in told
    assert "DOWN" not in told


def test_a_service_is_not_root_and_writes_to_its_own_folder_only(platform: RealCluster) -> None:
    inside = ("-n", NAMESPACE, "exec", "deployment/trimtab-gateway", "-c", "gateway", "--")
    assert platform.kubectl(*inside, "id", "-u").strip() == USER
    platform.kubectl(*inside, "touch", "/var/lib/trimtab/mine")
    with pytest.raises(CommandFailed) as refused:
        platform.kubectl(*inside, "touch", "/opt/trimtab/not-mine")
    assert "Read-only file system" in refused.value.stderr


def test_a_pod_has_no_token_of_the_api_server_unless_it_starts_trainings(
    platform: RealCluster,
) -> None:
    with_token = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]
        for pod in pods(platform)
        if "/var/run/secrets/kubernetes.io/serviceaccount" in json.dumps(pod["spec"])
    }
    assert with_token == {"retrain"}


def test_a_chat_is_answered_kept_and_mined(platform: RealCluster) -> None:
    client = Client(platform, "ada")
    answer = client.say("Hello").json()["choices"][0]["message"]["content"]
    assert client.say("Hello", answer, "No, that is wrong. Just say hello.").status_code == 200

    def mined() -> dict[str, Any] | None:
        listed = trimtab(platform, "conversations", "list")["conversations"]
        name = next((one["conversation_id"] for one in listed if one["user_id"] == "ada"), "")
        steps = trimtab(platform, "conversations", "trace", name)["steps"] if name else []
        return next(
            (one for one in steps if one["stage"] == "feedback.turns" and one["name"]), None
        )

    deadline = time.monotonic() + 120
    while (step := mined()) is None:
        assert time.monotonic() < deadline, "nothing was made of the follow-up"
        time.sleep(1)
    assert "dissatisfaction" in step["detail"]


def test_no_chat_fails_while_the_gateway_is_replaced_and_a_service_dies(
    platform: RealCluster,
) -> None:
    statuses: list[int] = []
    over = threading.Event()

    def chat(user: str) -> None:
        client = Client(platform, user)
        while not over.is_set():
            statuses.append(client.say("Hello").status_code)

    users = [threading.Thread(target=chat, args=(f"user-{n}",)) for n in range(2)]
    for one in users:
        one.start()
    try:
        here = ("-n", NAMESPACE)
        platform.kubectl(*here, "rollout", "restart", "deployment/trimtab-gateway")
        platform.kubectl(*here, "rollout", "status", "deployment/trimtab-gateway", "--timeout=300s")
        label, former = "app.kubernetes.io/component=interaction", _ready(platform, "interaction")
        platform.kubectl(*here, "delete", "pod", "-l", label, "--grace-period=0", "--force")
        until(lambda: _ready(platform, "interaction") - former, "another interaction", 300)
    finally:
        over.set()
        for one in users:
            one.join()
    assert set(statuses) == {200}
    assert len(statuses) > 10


def _ready(cluster: RealCluster, part: str) -> set[str]:
    """The names of its pods that are ready."""
    return {
        pod["metadata"]["name"]
        for pod in pods(cluster)
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] == part
        and any(
            one["type"] == "Ready" and one["status"] == "True"
            for one in pod["status"].get("conditions", [])
        )
    }


@pytest.fixture(scope="module")
def trained(platform: RealCluster) -> str:
    """The version of a run: stated preferences become pairs, a Job trains on them, and a person has the last
    word on the gate, since so few prompts show nothing. It serves everyone."""
    pairs = "".join(json.dumps(_preference(n)) + "\n" for n in range(60))
    told = trimtab(platform, "import", "-", stdin=pairs)
    assert (told["preferences"], told["refused"]) == (60, 0), told
    few = ("--max-steps", "3", "--no-train-control", "--suite", "win_rate", "--suite", "form")
    trimtab(platform, "policies", "update", "assistant", *few)
    until(lambda: _trainable(platform) >= 6, "pairs to train on", 300)
    before = set(training_jobs(platform))
    begun = trimtab(platform, "retrain", "start", "--reason", "a test")
    run = begun["metadata"]["run"]["name"]
    until(lambda: set(training_jobs(platform)) - before, "a training's Job", 300)
    ended = until(lambda: _ended(platform, run), "the end of the run", 1500)
    assert ended["state"] != "RUN_STATE_FAILED", ended
    version: str = ended["model_version"]
    if ended["state"] == "RUN_STATE_REJECTED":
        trimtab(platform, "models", "restore", version, "--override-gate", "--reason", "a test")
    trimtab(platform, "models", "promote", version, "--reason", "a test")
    return version


def test_what_a_job_trained_serves_as_it_was_trained(platform: RealCluster, trained: str) -> None:
    (proof,) = trimtab(platform, "models", "verify", trained)["proofs"]
    assert proof["serves"] == "SERVES_AS_TRAINED", proof
    client = Client(platform, "grace")
    served = until(lambda: _served_by(client) == trained and trained, "its first answer", 60)
    assert served == trained


def test_a_replica_that_is_added_serves_every_version(platform: RealCluster, trained: str) -> None:
    more = ("--reuse-values", "--set", "vllm.replicas=2", "--atomic", "--timeout", "20m")
    platform.helm("upgrade", "trimtab", str(SMALL.parent), "-n", NAMESPACE, *more)
    proofs = until(lambda: _proofs(platform, trained), "both replicas' answers", 300)
    assert [proof["serves"] for proof in proofs] == ["SERVES_AS_TRAINED"] * 2, proofs
    assert len({proof["replica"] for proof in proofs}) == 2
    assert _served_by(Client(platform, "grace")) == trained


def _proofs(cluster: RealCluster, version: str) -> list[dict[str, Any]] | None:
    """None while a replica takes longer than a call may: its first answers are slow."""
    try:
        found: list[dict[str, Any]] = trimtab(cluster, "models", "verify", version)["proofs"]
    except CommandFailed as refused:
        assert "DEADLINE_EXCEEDED" in refused.stderr, refused
        return None
    return found


def _served_by(client: Client) -> str:
    answer = client.say("Hello")
    assert answer.status_code == 200, answer.text
    return answer.headers["x-trimtab-version"]


def _preference(number: int) -> dict[str, str]:
    topic = f"topic {number}"
    return {
        "prompt": f"Tell me about {topic}.",
        "chosen": f"It is {topic}, in short.",
        "rejected": f"There is a great deal to be said about {topic}, and I shall say all of it. "
        * 3,
        "user": f"user-{number % 30}",
    }


def _trainable(cluster: RealCluster) -> int:
    return int(trimtab(cluster, "retrain", "preview")["snapshot"].get("train_pairs", 0))


def _ended(cluster: RealCluster, run: str) -> dict[str, Any] | None:
    found: dict[str, Any] = trimtab(cluster, "retrain", "show", run)
    return found if found["state"] in _ENDED else None
