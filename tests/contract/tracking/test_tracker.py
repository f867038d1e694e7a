"""One suite over the tracker's twin and over a real MLflow server."""

import uuid

import httpx
import pytest

from shared.language.errors import Unavailable
from shared.tracking.mlflow_tracker import MlflowTracker
from shared.tracking.port import ExperimentTracker, MemoryTracker, TrackedRun


@pytest.fixture(params=["memory", "mlflow"])
def tracker(request: pytest.FixtureRequest) -> ExperimentTracker:
    if request.param == "memory":
        return MemoryTracker()
    return MlflowTracker(request.getfixturevalue("mlflow_url"), timeout_s=20.0)


def _run(key: str, accuracy: float) -> TrackedRun:
    return TrackedRun(
        experiment="contract",
        key=key,
        name="a run",
        params={"pairs": "24"},
        metrics={"accuracy": accuracy, "win_rate@assistant-v0": 0.5},
        tags={"kind": "test"},
        artifacts={"card.json": b"{}"},
    )


def test_a_key_is_logged_once_and_keeps_its_id(tracker: ExperimentTracker) -> None:
    first, second = uuid.uuid4().hex, uuid.uuid4().hex
    run_id = tracker.log(_run(first, 0.75))
    assert run_id
    assert tracker.log(_run(first, 0.1)) == run_id
    assert tracker.log(_run(second, 0.75)) != run_id


def test_mlflow_holds_what_was_logged(mlflow_url: str) -> None:
    tracker = MlflowTracker(mlflow_url, timeout_s=20.0)
    from mlflow import MlflowClient

    run_id = tracker.log(_run(uuid.uuid4().hex, 0.75))
    client = MlflowClient(tracking_uri=mlflow_url)
    run = client.get_run(run_id)
    assert run.data.metrics == {"accuracy": 0.75, "win_rate/assistant-v0": 0.5}
    assert run.data.params == {"pairs": "24"}
    assert run.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run_id)] == ["card.json"]


def test_a_server_that_is_away_is_said_at_once() -> None:
    with pytest.raises(Unavailable) as raised:
        MlflowTracker("http://127.0.0.1:9", timeout_s=1.0).log(_run("k", 0.5))
    assert raised.value.reason == "TRACKER_AWAY"
    assert isinstance(raised.value.__cause__, httpx.HTTPError)
