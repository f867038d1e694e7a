"""What a training job is doing, and why it failed, in words that a person can follow: from what the cluster
says of the job and of its pods."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.retrain.adapters.cluster.api import Json

_QUEUE, _INDEX = "kueue.x-k8s.io/queue-name", "batch.kubernetes.io/job-completion-index"
_INSUFFICIENT = re.compile(r"Insufficient ([\w.\-]+(?:/[\w.\-]+)?)")
# What a container that does not begin says of itself, for people.
_BEGINS = {
    "ContainerCreating": "its container is being created",
    "PodInitializing": "its pod is being prepared",
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "InvalidImageName": "its image has a wrong name",
    "CreateContainerConfigError": "its container cannot be created",
    "CreateContainerError": "its container cannot be created",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """How a pod ended. `code`: of the container that failed, if it began; `reason`: OOMKilled, Evicted, ..."""

    pod: str
    container: str
    code: int | None
    reason: str
    message: str
    ended_at: str = ""

    def __str__(self) -> str:
        ended = f"exit code {self.code}" if self.code is not None else "no exit code"
        return f"{ended} ({self.reason})" if self.reason else ended


def is_going(found: Json) -> bool:
    """Whether it is being deleted."""
    return "deletionTimestamp" in found["metadata"]


def ended_in(found: Json) -> str:
    """Complete or Failed; empty if neither."""
    return next((kind for kind in ("Complete", "Failed") if _condition(found, kind)), "")


def why_failed(found: Json) -> str:
    """What the job itself says."""
    condition = _condition(found, "Failed") or {}
    return ": ".join(filter(None, (condition.get("reason", ""), condition.get("message", ""))))


def is_suspended(found: Json) -> bool:
    return bool(found["spec"].get("suspend"))


def has_begun(pods: Sequence[Json]) -> bool:
    return any(_phase(pod) != "Pending" for pod in pods)


def runs(pods: Sequence[Json]) -> bool:
    return any(_phase(pod) == "Running" for pod in pods)


def doing(found: Json, pods: Sequence[Json]) -> str:
    """Of a job that has not ended."""
    name = found["metadata"]["name"]
    if is_suspended(found):
        queue = (found["metadata"].get("labels") or {}).get(_QUEUE)
        return f"waits in the queue {queue}" if queue else f"the job {name} is suspended"
    live = [pod for pod in pods if _phase(pod) in ("Pending", "Running") and not is_going(pod)]
    again = f"; the pod before ended with {last}" if (last := failed_pod(pods)) else ""
    if not live:
        words = f"waits for a pod (kubectl describe {found['kind'].lower()} {name} says why there is none)"
        return words + again
    waiting = [pod for pod in live if _phase(pod) == "Pending"]
    share = f" ({len(waiting)} of {len(live)} pods)" if waiting and len(live) > 1 else ""
    return (_of_pending(waiting[0]) if waiting else _of_running(live[0])) + share + again


def failed_pod(pods: Sequence[Json]) -> Failure | None:
    """How the newest failed pod ended; of several nodes' pods, the one that failed first: it took the others
    with it."""
    newest = {_node_of(pod): _failure(pod) for pod in pods if _phase(pod) == "Failed"}
    return min(newest.values(), key=lambda one: (one.ended_at or "9", one.pod), default=None)


def _failure(pod: Json) -> Failure:
    status = pod["status"]
    ended = [
        (one["name"], state["terminated"])
        for one in status.get("containerStatuses", ())
        for state in (one.get("state", {}), one.get("lastState", {}))
        if "terminated" in state
    ]
    # Of several containers, the one that failed.
    ended = [one for one in ended if one[1].get("exitCode")] or ended
    container, last = ended[0] if ended else (pod["spec"]["containers"][0]["name"], {})
    disrupted = _condition(pod, "DisruptionTarget") or {}
    reason = status.get("reason") or disrupted.get("reason") or last.get("reason") or ""
    message = status.get("message") or disrupted.get("message") or last.get("message") or ""
    code, at = last.get("exitCode"), last.get("finishedAt") or ""
    return Failure(pod["metadata"]["name"], container, code, reason, message, at)


def _of_pending(pod: Json) -> str:
    scheduled = _condition(pod, "PodScheduled", "False")
    if scheduled and scheduled.get("reason") == "SchedulingGated":
        gates = ", ".join(gate["name"] for gate in pod["spec"].get("schedulingGates", ()))
        return f"is held by {gates or 'a scheduling gate'}"
    if scheduled:
        return _unschedulable(pod, scheduled.get("message", ""))
    for one in (
        *pod["status"].get("initContainerStatuses", ()),
        *pod["status"].get("containerStatuses", ()),
    ):
        waiting = one.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") != "PodInitializing":
            reason = waiting.get("reason", "")
            words = _BEGINS.get(reason, f"its container does not begin: {reason}")
            return ": ".join(filter(None, (words, waiting.get("message", ""))))
    node = pod["spec"].get("nodeName")
    return f"its pod begins on {node}" if node else "its pod waits for a node"


def _of_running(pod: Json) -> str:
    return f"runs on {pod['spec'].get('nodeName', 'a node')}, reads the model and the pairs"


def _unschedulable(pod: Json, message: str) -> str:
    """`0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: ...` has both what is missing and
    how many nodes there are."""
    said = message.partition(". ")[0].rstrip(".")
    lacking = dict.fromkeys(_INSUFFICIENT.findall(said))
    if not lacking:
        return f"no node takes its pod: {said}" if said else "no node takes its pod"
    wanted = [f"{amount} free {name}" for name in lacking if (amount := _requested(pod, name))]
    return f"no node has {' and '.join(wanted) or 'enough ' + ', '.join(lacking)} ({said})"


def _requested(pod: Json, resource: str) -> str:
    """By the first container that asks for it."""
    for container in pod["spec"].get("containers", ()):
        resources = container.get("resources") or {}
        for of in ("requests", "limits"):
            if amount := (resources.get(of) or {}).get(resource):
                return str(amount)
    return ""


def _node_of(pod: Json) -> str:
    """Which of a job's pods this is, or was."""
    return str((pod["metadata"].get("labels") or {}).get(_INDEX, ""))


def _phase(pod: Json) -> str:
    return str(pod.get("status", {}).get("phase", "Pending"))


def _condition(found: Json, kind: str, status: str = "True") -> Json | None:
    conditions: list[Json] = found.get("status", {}).get("conditions") or []
    for one in conditions:
        if one["type"] == kind and one["status"] == status:
            return one
    return None
