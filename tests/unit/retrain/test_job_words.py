"""What people are told about a training job."""

from typing import Any

import pytest

from services.retrain.adapters.cluster.api import Json
from services.retrain.adapters.cluster.words import doing, failed_pod, has_begun
from tests.unit.retrain.cluster import ended, pod

JOB: Json = {"kind": "Job", "metadata": {"name": "t-1"}, "spec": {}}


def unschedulable(message: str, reason: str = "Unschedulable") -> Json:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return {"conditions": [condition]}


def waiting(reason: str, message: str = "") -> Json:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": "train", "state": state}]}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            unschedulable("0/2 nodes are available: 2 Insufficient nvidia.com/gpu. no new claims"),
            "no node has 2 free nvidia.com/gpu (0/2 nodes are available: 2 Insufficient nvidia.com/gpu)",
        ),
        (
            unschedulable("0/2 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."),
            "no node has enough cpu, memory"
            " (0/2 nodes are available: 1 Insufficient cpu, 1 Insufficient memory)",
        ),
        (
            unschedulable("0/1 nodes are available: 1 node(s) had untolerated taint {gpu: }. x"),
            "no node takes its pod: 0/1 nodes are available: 1 node(s) had untolerated taint {gpu: }",
        ),
        (unschedulable("gated", "SchedulingGated"), "is held by example.com/quota"),
        (
            waiting("ImagePullBackOff", 'Back-off pulling image "a:1"'),
            'its image cannot be pulled: Back-off pulling image "a:1"',
        ),
        (waiting("ContainerCreating"), "its container is being created"),
        (waiting("Strange"), "its container does not begin: Strange"),
        ({}, "its pod waits for a node"),
    ],
)
def test_why_a_pod_does_not_begin(status: dict[str, Any], words: str):
    waits = pod("Pending", **status)
    waits["spec"]["schedulingGates"] = [{"name": "example.com/quota"}]
    assert doing(JOB, [waits]) == words
    assert not has_begun([waits])


def test_a_suspended_job_waits_in_its_queue_or_for_somebody():
    suspended = {**JOB, "spec": {"suspend": True}}
    assert doing(suspended, []) == "the job t-1 is suspended"
    labels = {"kueue.x-k8s.io/queue-name": "team-a"}
    queued = {**suspended, "metadata": {"name": "t-1", "labels": labels}}
    assert doing(queued, [pod("Running")]) == "waits in the queue team-a"


def test_a_pod_that_follows_a_failed_one_says_how_that_ended():
    pods = [pod("Failed", **ended(137, "OOMKilled")), pod("Running", name="pod-2")]
    assert doing(JOB, pods) == (
        "runs on node-1, reads the model and the pairs; the pod before ended with exit code 137 (OOMKilled)"
    )


def test_of_several_pods_those_that_wait_are_counted():
    pods = [pod("Running"), pod("Pending", name="pod-2")]
    assert doing(JOB, pods) == "its pod waits for a node (1 of 2 pods)"


def test_of_one_nodes_pods_the_last_failure_counts_and_of_several_nodes_the_first():
    def failed(name: str, index: str, code: int, at: str) -> Json:
        one = pod("Failed", name=name, **ended(code, "Error"))
        one["metadata"]["labels"] = {"batch.kubernetes.io/job-completion-index": index}
        one["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = at
        return one

    again = [
        failed("a", "0", 1, "2026-01-01T00:00:01Z"),
        failed("b", "0", 2, "2026-01-01T00:00:05Z"),
    ]
    assert (last := failed_pod(again)) and (last.pod, last.code) == ("b", 2)
    together = [*again, failed("c", "1", 3, "2026-01-01T00:00:03Z")]
    assert (first := failed_pod(together)) and (first.pod, first.code) == ("c", 3)


def test_the_container_that_failed_is_named_and_an_evicted_pod_says_so():
    states = [
        {"name": "sidecar", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
        {"name": "train", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}},
    ]
    found = failed_pod([pod("Failed", containerStatuses=states)])
    assert found and (found.container, str(found)) == ("train", "exit code 1 (Error)")
    evicted = pod("Failed", reason="Evicted", message="The node was low on memory.")
    found = failed_pod([evicted])
    assert found and (str(found), found.container) == ("no exit code (Evicted)", "train")
    assert found.message == "The node was low on memory."
