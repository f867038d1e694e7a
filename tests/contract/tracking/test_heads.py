"""One suite over the heads' tracker in memory and over a real MLflow server."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from services.feedback.heads.adapters.memory import MemoryHeadTracker
from services.feedback.heads.adapters.mlflow_heads import MlflowHeads
from services.feedback.heads.ports import HeadTracker
from shared.language.errors import Unavailable
from shared.tracking.port import TrackedRun


@pytest.fixture(params=["memory", "mlflow"])
def tracker(request: pytest.FixtureRequest) -> HeadTracker:
    if request.param == "memory":
        return MemoryHeadTracker()
    return MlflowHeads(request.getfixturevalue("mlflow_url"), timeout_s=20.0)


def serving(tracker: HeadTracker, model: str, url: str | None) -> str:
    """Which version bears the alias."""
    if isinstance(tracker, MemoryHeadTracker):
        return tracker.serving.get(model, "")
    from mlflow import MlflowClient

    return str(MlflowClient(url, url).get_registered_model(model).aliases.get("serving", ""))


def run(model: str, version: int) -> TrackedRun:
    return TrackedRun(
        experiment="contract-heads",
        key=f"{model}/heads/dissatisfaction-v{version}",
        name=f"v{version}",
        metrics={"log_loss_gain": 0.25},
        tags={"version": str(version), "verdict": "promoted"},
        artifacts={"head.npz": b"arrays"},
    )


def test_a_head_is_one_version_and_the_alias_moves(
    tracker: HeadTracker, request: pytest.FixtureRequest
) -> None:
    url = None if isinstance(tracker, MemoryHeadTracker) else request.getfixturevalue("mlflow_url")
    model = f"dissatisfaction-a%3Ab-{uuid.uuid4().hex}"
    tracker.point(model, "")  # nothing is there yet
    first = tracker.log(model, run(model, 1))
    assert tracker.log(model, run(model, 1)) == first
    second = tracker.log(model, run(model, 2))
    assert (first.number, second.number) == ("1", "2")
    assert first.run_id != second.run_id
    for number in ("1", "2", ""):
        tracker.point(model, number)
        tracker.point(model, number)
        assert serving(tracker, model, url) == number


def test_mlflow_has_the_verdict_and_the_arrays(mlflow_url: str) -> None:
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts

    model = f"dissatisfaction-{uuid.uuid4().hex}"
    found = MlflowHeads(mlflow_url, timeout_s=20.0).log(model, run(model, 1))
    client = MlflowClient(mlflow_url, mlflow_url)
    version = client.get_model_version(model, found.number)
    assert version.run_id == found.run_id
    assert (version.tags["verdict"], version.tags["version"]) == ("promoted", "1")
    assert client.get_run(found.run_id).data.metrics == {"log_loss_gain": 0.25}
    kept = download_artifacts(
        run_id=found.run_id, artifact_path="head.npz", tracking_uri=mlflow_url
    )
    assert Path(kept).read_bytes() == b"arrays"


def test_a_server_that_is_away_is_said_at_once() -> None:
    away = MlflowHeads("http://127.0.0.1:9", timeout_s=1.0)
    for call in (lambda: away.log("m", run("m", 1)), lambda: away.point("m", "1")):
        with pytest.raises(Unavailable) as raised:
            call()
        assert raised.value.reason == "TRACKER_AWAY"
