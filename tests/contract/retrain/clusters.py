"""What every Cluster does (services/retrain/adapters/cluster/api.py): the twin's and a real one's tests."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from services.retrain.adapters.cluster.api import JOB, TRAIN_JOB, Cluster
from shared.language.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from tests.polling import until
from tests.unit.retrain.cluster import OWNER, manifest, train_job

UNKNOWN = replace(TRAIN_JOB, version="v9")


def named(name: str, run: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    whole = dict(content or manifest())
    whole["metadata"] = {"name": name, "labels": {"trimtab/run": run}}
    return whole


class ClusterContract:
    """With a fixture `api`: an empty namespace of a cluster that knows Jobs and TrainJobs."""

    def test_a_job_is_made_once_found_and_deleted(self, api: Cluster):
        assert api.get(JOB, "a") is None
        api.create(JOB, named("a", "run-1"))
        with pytest.raises(AlreadyExists, match="already exists"):
            api.create(JOB, named("a", "run-1"))
        found = api.get(JOB, "a")
        assert found is not None
        assert (found["kind"], found["metadata"]["namespace"]) == ("Job", api.namespace)
        assert "deletionTimestamp" not in found["metadata"]
        api.delete(JOB, "a", "another's")
        assert api.get(JOB, "a") is not None
        uid = found["metadata"]["uid"]
        api.delete(JOB, "a", uid)
        until(lambda: api.get(JOB, "a") is None, "the end of the job")
        api.delete(JOB, "a", uid)

    def test_an_owner_that_is_not_there_is_none(self, api: Cluster):
        assert api.owner(OWNER) is None

    def test_jobs_are_found_by_labels(self, api: Cluster):
        assert api.having(JOB, "trimtab/run") == []
        for name, run in (("a", "run-1"), ("b", "run-2"), ("c", "run-2")):
            api.create(JOB, named(name, run))
        plain = named("d", "")
        del plain["metadata"]["labels"]
        api.create(JOB, plain)

        def names(labels: str) -> list[str]:
            return sorted(one["metadata"]["name"] for one in api.having(JOB, labels))

        assert names("trimtab/run") == ["a", "b", "c"]
        assert names("trimtab/run=run-2") == ["b", "c"]
        assert names("trimtab/run=run-3") == []

    def test_train_jobs_are_another_kind(self, api: Cluster):
        api.create(TRAIN_JOB, named("a", "run-1", train_job()))
        assert api.get(JOB, "a") is None
        found = api.get(TRAIN_JOB, "a")
        assert found is not None and found["spec"]["runtimeRef"]["name"] == "torch"

    def test_what_a_manifest_lacks_is_named(self, api: Cluster):
        with pytest.raises(InvalidArgument, match=r"refuses to create jobs\.batch: .*spec"):
            api.create(JOB, {**named("a", "run-1"), "spec": {}})

    def test_a_kind_that_the_cluster_does_not_have_is_not_a_job_that_is_not_there(
        self, api: Cluster
    ):
        calls: list[Callable[[], object]] = [
            lambda: api.get(UNKNOWN, "a"),
            lambda: api.having(UNKNOWN, "trimtab/run"),
            lambda: api.create(UNKNOWN, named("a", "run-1", train_job())),
        ]
        for call in calls:
            with pytest.raises(FailedPrecondition, match="it has no such kind") as refused:
                call()
            assert refused.value.reason == "NO_SUCH_KIND"

    def test_of_a_pod_that_is_not_there_there_is_no_log(self, api: Cluster):
        assert api.pods("trimtab/run=run-1") == []
        assert api.log("a", "train", 10) == ""
