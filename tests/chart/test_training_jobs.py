"""Trainings as jobs of a real control plane with fake nodes: they succeed, fail, wait, are cancelled, and go on
when the service that watches them is another one."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.kubernetes.cluster import FakeCluster
from services.retrain.adapters.cluster.api import JOB, TRAIN_JOB
from services.retrain.adapters.cluster.kubernetes_api import connect
from services.retrain.adapters.cluster.template import TrainJobs
from shared.language.errors import Cancelled, FailedPrecondition, Internal
from tests.chart.training import RULES, Scene, account, gpu_job
from tests.polling import until
from tests.unit.retrain.cluster import NAME, run_of, train_job


@pytest.fixture
def scene(cluster: FakeCluster, namespace: str, tmp_path: Path) -> Iterator[Scene]:
    kubeconfig = account(cluster, namespace, RULES)
    scene = Scene(cluster, namespace, tmp_path, connect(namespace, str(kubeconfig)))
    yield scene
    scene.end()
    # Its pods' GPUs are the next test's.
    cluster.kubectl("-n", namespace, "delete", "jobs", "--all", "--timeout=60s")


def test_a_training_runs_on_a_gpu_node_and_hands_its_adapter_over(scene: Scene):
    training = scene.begin(scene.trainer(gpu_job()))
    (pod,) = scene.running()
    scene.until_shown("runs on gpu-")
    scene.say(0.4, "dpo step 4 of 10")
    scene.until_shown("dpo step 4 of 10")
    assert scene.shown[-1] == (0.4, "dpo step 4 of 10")
    scene.finish()
    made = training.result()
    assert (made.adapter_path, len(made.steps)) == (str(scene.training / "adapter"), 3)
    scene.cluster.end_pod(pod, scene.namespace)
    job = scene.cluster.get("job", NAME, scene.namespace)
    spec = job["spec"]
    assert (spec["completionMode"], spec["podReplacementPolicy"]) == ("Indexed", "Failed")
    args = spec["template"]["spec"]["containers"][0]["args"]
    assert args == ["--job", str(scene.training / "job.json")]
    assert job["metadata"]["labels"]["trimtab/run"] == "run-1"
    again = scene.begin(scene.trainer(gpu_job())).result(5)
    assert again == made


def test_a_job_for_which_there_are_too_few_gpus_says_so(scene: Scene):
    training = scene.begin(scene.trainer(gpu_job(3)))
    said = scene.until_shown("no node has 3 free nvidia.com/gpu")
    assert "0/3 nodes are available" in said and "Insufficient nvidia.com/gpu" in said
    # The template is corrected, and the service starts anew.
    training.stop()
    scene.begin(scene.trainer(gpu_job(1)))
    scene.until_shown("anew: the template has changed")
    scene.running()


def test_a_training_that_fails_says_why_and_the_next_attempt_is_another_job(scene: Scene):
    said = ("loading", "CUDA error: out of memory")
    lines = [f"2026-01-02T03:04:05.000000000Z stderr F {line}\n" for line in said]
    scene.cluster.container_logs.write_text("".join(lines))
    first = scene.begin(scene.trainer(gpu_job()))
    (pod,) = scene.running()
    uid = scene.uid()
    scene.cluster.end_pod(pod, scene.namespace, 3)
    with pytest.raises(Internal) as failed:
        first.result()
    message = failed.value.message
    assert message.startswith(f"training ended with exit code 3 (Error) in the pod {pod}: ")
    assert "BackoffLimitExceeded" in message
    assert message.endswith("loading\nCUDA error: out of memory")
    # Another service looks at the same attempt: it failed. The next attempt makes it anew.
    with pytest.raises(Internal, match="exit code 3"):
        scene.begin(scene.trainer(gpu_job())).result()
    assert scene.uid() == uid
    scene.begin(scene.trainer(gpu_job()), run_of(failures=1))
    scene.until_shown("anew: the one before failed")
    scene.running()
    assert scene.uid() != uid


def test_within_an_attempt_a_pod_follows_the_one_that_failed(scene: Scene):
    training = scene.begin(scene.trainer(gpu_job(backoffLimit=1)))
    (first,) = scene.running()
    scene.cluster.end_pod(first, scene.namespace, 137)
    scene.until_shown("the pod before ended with exit code 137")
    until(lambda: scene.running() != [first], "another pod", 90)
    scene.finish()
    assert training.result().adapter_path == str(scene.training / "adapter")
    assert len(scene.pods()) == 2


def test_of_several_pods_one_that_fails_ends_all(scene: Scene):
    command = ("torchrun", "--nnodes=2")
    content = gpu_job(command=command, completions=2, parallelism=2, backoffLimit=3)
    training = scene.begin(scene.trainer(content))
    pods = scene.running(2)
    scene.until_shown("runs on gpu-")
    scene.cluster.end_pod(pods[1], scene.namespace, 4)
    with pytest.raises(Internal, match="exit code 4 .* in the pod " + pods[1]):
        training.result()
    until(
        lambda: not [one for one in scene.pods() if one["status"]["phase"] == "Running"],
        "their end",
    )


def test_a_cancelled_training_stops_at_once_and_its_job_and_pod_go(scene: Scene):
    trainer = scene.trainer(gpu_job())
    training = scene.begin(trainer)
    scene.running()
    began = time.monotonic()
    training.stop()
    assert time.monotonic() - began < 3
    with pytest.raises(Cancelled):
        training.result()
    trainer.cancel("run-2")
    assert scene.api.get(JOB, NAME) is not None
    trainer.cancel("run-1")
    until(lambda: scene.api.get(JOB, NAME) is None, "the end of the job")
    assert scene.pods() == []
    trainer.cancel("run-1")


def test_a_queue_holds_a_training_back_and_may_do_so_again(scene: Scene):
    content = gpu_job(suspend=True)
    content["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "team-a"
    training = scene.begin(scene.trainer(content))
    scene.until_shown("waits in the queue team-a")
    assert scene.pods() == []
    scene.patch("job", {"spec": {"suspend": False}})
    scene.running()
    scene.until_shown("runs on gpu-")
    uid = scene.uid()
    scene.patch("job", {"spec": {"suspend": True}})
    until(lambda: scene.shown[-1][1] == "waits in the queue team-a", "waiting again")
    scene.patch("job", {"spec": {"suspend": False}})
    scene.running()
    assert scene.uid() == uid
    scene.finish()
    training.result()


def test_the_service_that_comes_next_goes_on_with_the_same_job(scene: Scene):
    first = scene.begin(scene.trainer(gpu_job()))
    (pod,) = scene.running()
    first.stop()
    scene.say(0.7, "dpo step 7 of 10")
    second = scene.begin(scene.trainer(gpu_job()))
    scene.until_shown("dpo step 7 of 10")
    assert scene.running() == [pod]
    scene.finish()
    second.result()
    assert len(scene.cluster.get("jobs", namespace=scene.namespace)["items"]) == 1


def test_a_job_that_somebody_deletes_is_made_anew(scene: Scene):
    training = scene.begin(scene.trainer(gpu_job()))
    (pod,) = scene.running()
    uid = scene.uid()
    scene.cluster.kubectl("-n", scene.namespace, "delete", "job", NAME, "--timeout=60s")
    until(lambda: scene.api.get(JOB, NAME), "another job")
    assert scene.uid() != uid
    assert scene.running() != [pod]
    scene.finish()
    training.result()


def test_a_job_of_another_training_is_replaced_when_its_pods_are_gone(scene: Scene):
    first = scene.begin(scene.trainer(gpu_job()))
    (pod,) = scene.running()
    uid = scene.uid()
    first.stop()
    second = scene.begin(scene.trainer(gpu_job()), run_of(snapshot="b"))
    scene.until_shown("anew: it was made for another training")
    until(lambda: scene.uid() != uid, "another job")
    assert scene.running() != [pod]
    assert json.loads((scene.training / "job.json").read_text())["snapshot"] == "/snapshots/b"
    scene.finish()
    second.result()


def test_a_job_of_somebody_else_is_left_alone(scene: Scene):
    theirs = gpu_job()
    theirs["metadata"] = {"name": NAME, "namespace": scene.namespace}
    scene.cluster.apply(theirs)
    with pytest.raises(FailedPrecondition, match="that was not made here"):
        scene.begin(scene.trainer(gpu_job())).result()


def test_jobs_of_former_runs_are_cleaned_up(scene: Scene):
    trainer = scene.trainer(gpu_job())
    training = scene.begin(trainer)
    scene.running()
    scene.finish()
    training.result()
    trainer.keep_only({"run-1"})
    assert scene.training.is_dir()
    trainer.keep_only({"run-2"})
    assert not scene.training.exists()
    until(lambda: scene.api.get(JOB, NAME) is None, "the end of the job")


def test_a_job_that_completed_without_files_names_the_volume(scene: Scene):
    training = scene.begin(scene.trainer(gpu_job()))
    (pod,) = scene.running()
    scene.cluster.end_pod(pod, scene.namespace)
    scene.until_shown("completed; waits for its files")
    with pytest.raises(Internal, match="on a volume that the job's pods and this service share"):
        training.result()


def test_a_train_job_waits_runs_and_fails_by_what_its_controller_says(scene: Scene):
    content = train_job(command=["torchrun"], args=["-m", "services.retrain.train"], numNodes=2)
    content["spec"]["suspend"] = True
    content["metadata"] = {"labels": {"kueue.x-k8s.io/queue-name": "team-a"}}
    training = scene.begin(scene.trainer(content, "trainjob"))
    scene.until_shown("waits in the queue team-a")
    found = scene.api.get(TRAIN_JOB, NAME)
    assert found is not None
    job_file = str(scene.training / "job.json")
    assert found["spec"]["trainer"]["args"][-2:] == ["--job", job_file]
    scene.patch("trainjob", {"spec": {"suspend": False}})
    scene.until_shown("waits for a pod (kubectl describe trainjob")
    scene.patch("trainjob", failed("JobsFailed", "2 jobs failed"), "--subresource=status")
    with pytest.raises(Internal, match="JobsFailed: 2 jobs failed; its pods are gone"):
        training.result()
    again = scene.begin(scene.trainer(content, "trainjob"), run_of(failures=1))
    scene.until_shown("anew: the one before failed")
    scene.finish()
    again.result()


def test_without_its_definition_there_are_no_train_jobs(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    absent = replace(TRAIN_JOB, version="v9")
    trainer = scene.trainer(train_job(), "trainjob")
    monkeypatch.setattr(TrainJobs, "kind", absent)
    with pytest.raises(FailedPrecondition, match=r"Kubeflow Trainer 2\.0") as refused:
        scene.begin(trainer).result()
    assert refused.value.reason == "NO_SUCH_KIND"


def failed(reason: str, message: str) -> dict[str, Any]:
    now = "2026-01-01T00:00:00Z"
    said = {"type": "Failed", "status": "True", "reason": reason, "message": message}
    return {"status": {"conditions": [{**said, "lastTransitionTime": now}]}}
