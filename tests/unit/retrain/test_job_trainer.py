"""Training as a job of a cluster: one job for each training whatever happens, waited for in words."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.retrain.adapters.cluster.api import JOB, TRAIN_JOB
from services.retrain.domain.training import Trained
from services.retrain.ports import Aside
from shared.language.errors import (
    Cancelled,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    PermissionDenied,
    Unavailable,
)
from tests.unit.retrain.cluster import (
    NAME,
    OWNER,
    PLAN,
    Play,
    ended,
    finish,
    manifest,
    pod,
    run_of,
    say,
    train_job,
)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


def test_a_training_is_one_job_with_the_template_and_its_own_name_labels_and_arguments(play: Play):
    made = play.train(play.finish)
    assert made.adapter_path == str(play.training / "adapter")
    assert (len(made.steps), made.seconds) == (3, 2.0)
    (job,) = play.cluster.created
    assert job["metadata"]["name"] == NAME
    assert job["metadata"]["labels"] == {
        "team": "a",
        "trimtab/run": "run-1",
        "trimtab/objective": "dpo",
    }
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["--job", str(play.training / "job.json")]
    assert container["command"] == ["python", "-m", "services.retrain.train"]
    assert (job["spec"]["completionMode"], job["spec"]["completions"]) == ("Indexed", 1)
    asked = json.loads((play.training / "job.json").read_text())
    assert "parent" not in asked
    assert (asked["snapshot"], asked["base_model"]) == ("/snapshots/a", "/models/base")
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    assert job["metadata"]["annotations"]["trimtab/job-digest"] == digest


def test_a_job_is_its_owners_and_is_not_made_while_there_is_none(play: Play):
    """An uninstall deletes owner and job while the service still looks."""
    play.owner = OWNER

    def owned() -> None:
        assert play.cluster.created == []
        play.cluster.config_maps[OWNER] = "uid-9"

    play.train(owned, play.finish)
    assert play.words[0] == f"waits for the ConfigMap {OWNER}, with which its jobs are deleted"
    named = {"apiVersion": "v1", "kind": "ConfigMap", "name": OWNER, "uid": "uid-9"}
    assert play.job["metadata"]["ownerReferences"] == [named]


def test_who_may_not_see_the_owner_makes_no_job_that_would_outlive_it(play: Play):
    play.owner = OWNER
    play.cluster.refused = {"get configmaps"}
    with pytest.raises(PermissionDenied, match="get configmaps"):
        play.train(play.finish)
    assert play.cluster.created == []


def test_what_was_trained_once_is_not_trained_again(play: Play):
    made = play.train(play.finish)
    play.cluster.is_away = True
    assert play.train() == made
    assert len(play.cluster.created) == 1


def test_the_objectives_of_a_run_are_jobs_of_their_own(play: Play):
    play.train(play.finish)
    finish_control = lambda: finish(play.folder / "runs/run-1/sft")  # noqa: E731
    play.acts = iter([finish_control])
    sft = replace(PLAN, objective="sft")
    made = play.trainer().train(run_of(), sft, lambda *_: None, lambda: False)
    assert made.adapter_path.endswith("run-1/sft/adapter")
    assert [job["metadata"]["name"] for job in play.cluster.created] == [NAME, "trimtab-run-1-sft"]


def test_a_service_that_is_killed_goes_on_with_the_same_job(play: Play):
    with pytest.raises(Cancelled):
        play.train(lambda: play.pods(pod("Running")), play.stop)
    play.is_stopped = False
    uid = play.job["metadata"]["uid"]
    play.train(play.finish)
    assert play.job["metadata"]["uid"] == uid
    assert len(play.cluster.created) == 1


def test_it_is_told_what_a_training_waits_for_and_then_what_it_does(play: Play):
    queued = {"kueue.x-k8s.io/queue-name": "team-a"}
    play.content = manifest(suspend=True)
    play.content["metadata"]["labels"] = queued
    said = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes"
    full = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": said,
    }
    play.train(
        lambda: None,
        lambda: play.job["spec"].update(suspend=False),
        lambda: play.pods(pod("Pending", conditions=[full])),
        lambda: play.pods(pod("Running")),
        lambda: say(play.training, 0.4, "dpo step 4 of 10"),
        play.finish,
    )
    assert play.shown == [
        (0.0, f"asked the cluster for the job {NAME}"),
        (0.0, "waits in the queue team-a"),
        (0.0, f"waits for a pod (kubectl describe job {NAME} says why there is none)"),
        (
            0.0,
            "no node has 2 free nvidia.com/gpu (0/3 nodes are available: 3 Insufficient"
            " nvidia.com/gpu)",
        ),
        (0.0, "runs on node-1, reads the model and the pairs"),
        (0.4, "dpo step 4 of 10"),
    ]


def test_what_does_not_change_is_told_again_now_and_then(play: Play):
    play.train(*[lambda: None] * 100, play.finish)
    assert play.now == pytest.approx(30.3)
    waits = f"waits for a pod (kubectl describe job {NAME} says why there is none)"
    assert play.words == [f"asked the cluster for the job {NAME}", waits, waits]


def test_a_pod_that_fails_fails_the_training_with_its_code_reason_and_log(play: Play):
    play.cluster.logs["pod-1"] = "\n".join(f"line {n}" for n in range(100))

    def fail() -> None:
        play.pods(pod("Failed", **ended(137, "OOMKilled")))
        play.end("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")

    with pytest.raises(Internal) as failed:
        play.train(fail)
    assert failed.value.message.startswith(
        "training ended with exit code 137 (OOMKilled) in the pod pod-1: BackoffLimitExceeded: Job has reached"
    )
    assert failed.value.message.endswith("line 98\nline 99")
    assert "line 79\n" not in failed.value.message


def test_a_failed_job_stays_to_be_looked_at_until_the_next_attempt_makes_it_anew(play: Play):
    def fail() -> None:
        play.pods(pod("Failed", **ended(1, "Error")))
        play.end("Failed", "BackoffLimitExceeded")

    with pytest.raises(Internal):
        play.train(fail)
    with pytest.raises(
        Internal
    ):  # killed before it could say so: the same failure, not another attempt
        play.train()
    assert len(play.cluster.created) == 1
    play.train(lambda: None, play.finish, run=run_of(failures=1))
    assert f"makes the job {NAME} anew: the one before failed" in play.words
    assert len(play.cluster.created) == 2


def test_a_failed_job_whose_pods_are_gone_says_what_the_job_says(play: Play):
    with pytest.raises(Internal, match="DeadlineExceeded: too slow; its pods are gone"):
        play.train(lambda: play.end("Failed", "DeadlineExceeded", "too slow"))


def test_a_deleted_job_is_made_anew_once_its_pods_are_gone(play: Play):
    play.cluster.lingers = True

    def delete() -> None:
        play.cluster.delete(JOB, NAME, play.job["metadata"]["uid"])

    play.train(delete, play.cluster.jobs.clear, lambda: None, play.finish)
    assert f"waits until the former job {NAME} is gone" in play.words
    assert len(play.cluster.created) == 2


def test_a_job_of_another_training_is_replaced_and_its_progress_forgotten(play: Play):
    with pytest.raises(Cancelled):
        play.train(lambda: say(play.training, 0.9, "nearly there"), play.stop)
    play.is_stopped = False
    play.train(lambda: None, play.finish, run=run_of(snapshot="b"))
    assert f"makes the job {NAME} anew: it was made for another training" in play.words
    assert (0.9, f"asked the cluster for the job {NAME}") not in play.shown
    assert json.loads((play.training / "job.json").read_text())["snapshot"] == "/snapshots/b"


def test_a_job_that_waits_is_made_anew_by_a_corrected_template_but_one_that_trains_is_not(
    play: Play,
):
    with pytest.raises(Cancelled):
        play.train(play.stop)
    play.is_stopped, play.content = False, manifest(backoffLimit=2)
    with pytest.raises(Cancelled):
        play.train(lambda: None, lambda: play.pods(pod("Running")), play.stop)
    assert [job["spec"]["backoffLimit"] for job in play.cluster.created] == [0, 2]
    play.is_stopped, play.content = False, manifest(backoffLimit=4)
    play.train(lambda: None, lambda: None, play.finish)
    assert len(play.cluster.created) == 2


def test_a_job_of_somebody_else_is_left_alone(play: Play):
    play.cluster.create(JOB, {**manifest(), "metadata": {"name": NAME}})
    with pytest.raises(FailedPrecondition, match=r"kubectl delete jobs\.batch trimtab-run-1-dpo"):
        play.train()
    assert len(play.cluster.created) == 1


def test_two_services_that_begin_at_once_make_one_job(play: Play, monkeypatch: pytest.MonkeyPatch):
    other = Play(play.folder, cluster=play.cluster)
    with pytest.raises(Cancelled):
        other.train(other.stop)
    # What was there before the other's job was made.
    seen = iter([None])
    get = play.cluster.get
    monkeypatch.setattr(play.cluster, "get", lambda *asked: next(seen, get(*asked)))
    play.train(lambda: None, play.finish)
    assert len(play.cluster.created) == 1


def test_an_api_that_is_away_is_waited_for_and_said(play: Play):
    def away(is_away: bool) -> None:
        play.cluster.is_away = is_away

    away(True)
    play.train(
        lambda: away(False),
        lambda: play.pods(pod("Running")),
        lambda: say(play.training, 0.5, "half of it"),
        lambda: away(True),
        lambda: None,
        lambda: away(False),
        play.finish,
    )
    assert play.words == [
        "the cluster's API does not answer; asks again until it does",
        f"asked the cluster for the job {NAME}",
        "runs on node-1, reads the model and the pairs",
        "half of it",
        "half of it; the cluster's API does not answer; asks again until it does",
        "half of it",
    ]
    assert len(play.cluster.created) == 1


def test_a_job_that_completed_without_an_adapter_names_the_volume(play: Play):
    with pytest.raises(Internal, match=r"done.json has not come: is that folder on a volume"):
        play.train(lambda: play.end("Complete"))
    assert play.now == pytest.approx(60, abs=1)
    assert f"the job {NAME} completed; waits for its files" in play.words


def test_what_the_cluster_does_not_allow_or_refuses_is_passed_on(play: Play):
    play.cluster.refused = {"create jobs.batch"}
    with pytest.raises(PermissionDenied, match=r"create jobs\.batch"):
        play.train()
    play.cluster.refused = set()
    play.cluster.create = lambda *_: (_ for _ in ()).throw(InvalidArgument("spec: bad"))  # type: ignore[method-assign]
    with pytest.raises(InvalidArgument, match="spec: bad"):
        play.train()


def test_a_train_job_needs_its_kind_and_gets_its_arguments(play: Play):
    play.kind, play.content = TRAIN_JOB, train_job(args=["--verbose"])
    with pytest.raises(FailedPrecondition, match="no such kind") as refused:
        play.train()
    assert refused.value.reason == "NO_SUCH_KIND"
    play.trainer().keep_only({"run-1"})
    play.trainer().cancel("run-1")
    play.cluster.kinds = (TRAIN_JOB,)
    play.train(play.finish)
    args = play.job["spec"]["trainer"]["args"]
    assert args == ["--verbose", "--job", str(play.training / "job.json")]


def test_cancelled_at_once_and_then_the_job_is_deleted(play: Play):
    with pytest.raises(Cancelled):
        play.train(lambda: play.pods(pod("Running")), play.stop)
    assert play.now < 1
    assert NAME in [name for _, name in play.cluster.jobs]
    play.cluster.is_away = True
    with pytest.raises(Unavailable):
        play.trainer().cancel("run-1")
    play.cluster.is_away = False
    play.trainer().cancel("run-2")
    assert len(play.cluster.jobs) == 1
    play.trainer().cancel("run-1")
    play.trainer().cancel("run-1")
    assert not play.cluster.jobs


def test_jobs_of_former_runs_go_with_their_folders_and_those_of_others_stay(play: Play):
    play.train(play.finish)
    foreign = {
        **manifest(),
        "metadata": {
            "name": "other-run-1-dpo",
            "labels": {"trimtab/run": "run-1", "trimtab/objective": "dpo"},
        },
    }
    play.cluster.create(JOB, foreign)
    play.trainer().keep_only({"run-1"})
    assert len(play.cluster.jobs) == 2
    play.cluster.is_away = True
    play.trainer().keep_only({"run-2"})
    assert not play.training.exists()
    play.cluster.is_away = False
    play.trainer().keep_only({"run-2"})
    assert [name for _, name in play.cluster.jobs] == ["other-run-1-dpo"]


def test_a_job_without_room_gives_way_and_one_that_has_begun_does_not(play: Play):
    play.content = manifest(suspend=True)

    def train(*acts: Callable[[], object], others: bool) -> Trained:
        play.acts = iter(acts)
        progress, trainer = (lambda *seen: play.shown.append(seen)), play.trainer()
        return trainer.train(run_of(), PLAN, progress, lambda: play.is_stopped, lambda: others)

    # Asked for first, then found waiting.
    with pytest.raises(Aside) as aside:
        train(others=True)
    assert aside.value.words == f"the job {NAME} is suspended"
    assert list(play.cluster.jobs) == [(JOB, NAME)]
    # Called again, it goes on with the same job; nobody else waits, so it looks until there is room.
    made = train(
        lambda: play.job["spec"].update(suspend=False),
        lambda: play.pods(pod("Running")),
        play.finish,
        others=False,
    )
    assert len(made.steps) == 3
    assert len(play.cluster.created) == 1


def test_a_job_that_runs_gives_no_way(play: Play):
    acts = [lambda: play.pods(pod("Running")), lambda: None, lambda: None, play.finish]
    play.acts = iter(acts)
    made = play.trainer().train(
        run_of(), PLAN, lambda *_: None, lambda: False, lambda: bool(play.cluster.pods_by_labels)
    )
    assert len(made.steps) == 3
