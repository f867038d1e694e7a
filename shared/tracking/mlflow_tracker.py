"""The ExperimentTracker on an MLflow server."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from shared.language.errors import Unavailable
from shared.tracking.port import TrackedRun

_KEY = "trimtab.key"
_RETRY_AFTER_S = 10.0


class MlflowTracker:
    """Checks the server's health first: MLflow's own client would retry silently for minutes."""

    def __init__(self, url: str, timeout_s: float = 5.0) -> None:
        self._url, self._timeout_s = url.rstrip("/"), timeout_s
        self._lock = threading.Lock()

    def log(self, run: TrackedRun) -> str:
        self.require_healthy()
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(tracking_uri=self._url)
        try:
            with self._lock:
                experiment = _experiment(client, run.experiment)
                run_id, finished = _find_or_create(client, experiment, run)
            if not finished:
                _write(client, run_id, run)
                client.set_terminated(run_id)
        except (MlflowException, OSError) as error:
            raise self._away(error) from error
        return run_id

    def require_healthy(self) -> None:
        """Raises Unavailable unless the server is healthy."""
        try:
            httpx.get(f"{self._url}/health", timeout=self._timeout_s).raise_for_status()
        except httpx.HTTPError as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"MLflow at {self._url} did not accept the run: {error}",
            reason="TRACKER_AWAY",
            retry_after_s=_RETRY_AFTER_S,
        )


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _find_or_create(client: Any, experiment: str, run: TrackedRun) -> tuple[str, bool]:
    """The run with this key, and whether it was written completely."""
    query = f"tags.`{_KEY}` = '{run.key}'"
    found = client.search_runs([experiment], filter_string=query, max_results=1)
    if found:
        return str(found[0].info.run_id), found[0].info.status == "FINISHED"
    created = client.create_run(experiment, tags={**run.tags, _KEY: run.key}, run_name=run.name)
    return str(created.info.run_id), False


def _write(client: Any, run_id: str, run: TrackedRun) -> None:
    from mlflow.entities import Metric, Param

    metrics = [Metric(name, value, 0, 0) for name, value in _allowed(run.metrics).items()]
    params = [Param(name, value[:6000]) for name, value in run.params.items()]
    client.log_batch(run_id, metrics=metrics, params=params)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in run.artifacts.items():
            file = Path(folder) / name
            file.write_bytes(content)
            client.log_artifact(run_id, str(file))


def _allowed(metrics: Mapping[str, float]) -> dict[str, float]:
    """MLflow allows no @ in a metric's name: `win_rate@assistant-v0` becomes
    `win_rate/assistant-v0`."""
    return {name.replace("@", "/"): float(value) for name, value in metrics.items()}
