"""MLflow's model registry: a registered model for each policy, with versions and two aliases."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from services.registry.domain.versions import Naming, Version
from shared.language.errors import NotFound, TrimtabError, Unavailable
from shared.language.policies import PolicyKey

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_log = logging.getLogger(__name__)
_EXPERIMENT = "trimtab-registry"
T = TypeVar("T")


class MlflowModels:
    """Each version of a registered model has our version in the tag `version`."""

    def __init__(self, url: str, naming: Naming) -> None:
        self._client, self._naming = MlflowClient(tracking_uri=url, registry_uri=url), naming
        self._registering = threading.Lock()

    def register(self, version: Version) -> str:
        # A caller that lost patience calls again while the first call still uploads.
        with self._registering:
            model = self._naming.model(version.key)
            return _reached(
                lambda: self._number(model, version.version) or self._register(model, version)
            )

    def holds(self, version: Version) -> bool:
        return bool(_reached(lambda: self._files(version)))

    @contextmanager
    def fetched(self, version: Version) -> Iterator[str]:
        if not self.holds(version):
            raise NotFound(
                f"MLflow does not have the adapter of {version.version}: its files were deleted there",
                reason="NOT_IN_MODEL_STORE",
            )
        with tempfile.TemporaryDirectory(prefix="trimtab-adapter-") as folder:
            yield _reached(lambda: self._download(version, folder))

    def point(self, key: PolicyKey, alias: str, version: Version | None) -> None:
        _reached(lambda: self._point(self._naming.model(key), alias, version))

    def _register(self, model: str, version: Version) -> str:
        self._make_model(model)
        run = self._client.create_run(self._experiment(), run_name=version.version)
        self._client.log_artifacts(run.info.run_id, version.adapter_path, "adapter")
        self._client.set_terminated(run.info.run_id)
        tags = {
            **version.tags,
            "tenant": version.key.tenant,
            "policy": version.key.policy,
            "version": version.version,
            "adapter_digest": version.adapter_digest,
            "snapshot_digest": version.snapshot_digest,
            "run": version.run,
            "parent": version.parent,
            "control": str(version.control).lower(),
        }
        made = self._client.create_model_version(
            model, f"{run.info.artifact_uri}/adapter", run.info.run_id, tags=tags
        )
        return str(made.version)

    def _point(self, model: str, alias: str, version: Version | None) -> None:
        number = self._number(model, version.version) if version else None
        if number:
            self._client.set_registered_model_alias(model, alias, number)
        elif self._client.search_registered_models(f"name = '{model}'"):
            # The base model is not in MLflow, so the alias points at nothing.
            self._client.delete_registered_model_alias(model, alias)

    def _files(self, version: Version) -> list[str]:
        run = self._run(version)
        files = self._client.list_artifacts(run, "adapter") if run else []
        return [one.path for one in files if one.path.endswith(".safetensors")]

    def _download(self, version: Version, folder: str) -> str:
        return str(self._client.download_artifacts(self._run(version), "adapter", folder))

    def _run(self, version: Version) -> str:
        """The run that holds its files; empty if there is none."""
        found = self._found(self._naming.model(version.key), version.version)
        return str(found.run_id) if found else ""

    def _number(self, model: str, version: str) -> str | None:
        found = self._found(model, version)
        return str(found.version) if found else None

    def _found(self, model: str, version: str) -> ModelVersion | None:
        query = f"name = '{model}' and tags.version = '{version}'"
        found = self._client.search_model_versions(query)
        return found[0] if found else None

    def _make_model(self, model: str) -> None:
        try:
            self._client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(_EXPERIMENT)
        return str(found.experiment_id if found else self._client.create_experiment(_EXPERIMENT))


def _reached(call: Callable[[], T]) -> T:
    """MLflow raises many kinds of errors; here they all mean that it is not available."""
    try:
        return call()
    except TrimtabError:
        raise
    except Exception as error:
        _log.info("mlflow: %s: %s", type(error).__name__, error)
        raise Unavailable(
            f"MLflow is not available: {type(error).__name__}",
            reason="MLFLOW_AWAY",
            retry_after_s=3.0,
        ) from error
