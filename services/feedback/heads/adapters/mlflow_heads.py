"""HeadTracker on MLflow: a run for each head, and its model registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from services.feedback.heads.ports import TrackedHead
from shared.language.errors import Unavailable
from shared.tracking.mlflow_tracker import MlflowTracker
from shared.tracking.port import TrackedRun

ALIAS = "serving"
_RUN = "run_key"


class MlflowHeads:
    """One registered model per tenant; its versions carry the run's key as a tag. MLflow is imported when it
    is first used: it takes longer than the service's own start."""

    def __init__(self, url: str, timeout_s: float = 5.0) -> None:
        self._url, self._tracker = url, MlflowTracker(url, timeout_s)

    def log(self, model: str, run: TrackedRun) -> TrackedHead:
        run_id = self._tracker.log(run)
        with _reached():
            number = self._number(model, run) or self._register(model, run, run_id)
        return TrackedHead(run_id, number)

    def point(self, model: str, number: str) -> None:
        self._tracker.require_healthy()
        with _reached():
            client = self._client()
            if number:
                client.set_registered_model_alias(model, ALIAS, number)
            elif client.search_registered_models(f"name = '{model}'"):
                client.delete_registered_model_alias(model, ALIAS)

    def _register(self, model: str, run: TrackedRun, run_id: str) -> str:
        client = self._client()
        if not client.search_registered_models(f"name = '{model}'"):
            client.create_registered_model(model)
        source = client.get_run(run_id).info.artifact_uri
        tags = {**run.tags, _RUN: run.key}
        return str(client.create_model_version(model, source, run_id, tags=tags).version)

    def _number(self, model: str, run: TrackedRun) -> str:
        query = f"name = '{model}' and tags.{_RUN} = '{run.key}'"
        found = self._client().search_model_versions(query)
        return str(found[0].version) if found else ""

    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._url, registry_uri=self._url)


@contextmanager
def _reached() -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        raise Unavailable(
            f"MLflow did not accept the head: {error}", reason="TRACKER_AWAY", retry_after_s=10.0
        ) from error
