"""One suite over the ModelStore's twin and over a real MLflow server."""

import sqlite3
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.local.stack import LocalStack
from services.registry.adapters.memory import MemoryModels
from services.registry.domain.versions import Naming, State, Version
from services.registry.ports import ModelStore
from shared.language.errors import NotFound, Unavailable
from shared.language.policies import PolicyKey


def _real(url: str) -> ModelStore:
    from services.registry.adapters.mlflow_models import MlflowModels

    return MlflowModels(url, Naming("local"))


@pytest.fixture(params=["memory", "mlflow"])
def models(request: pytest.FixtureRequest) -> ModelStore:
    if request.param == "memory":
        return MemoryModels()
    return _real(request.getfixturevalue("mlflow_url"))


@pytest.fixture
def version(tmp_path: Path) -> Version:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    return Version(
        key=PolicyKey("local", f"p{uuid.uuid4().hex[:8]}"),
        number=1,
        served_name="assistant-v1",
        state=State.REGISTERED,
        create_time=datetime(2026, 11, 20, tzinfo=UTC),
        adapter_path=str(tmp_path),
        adapter_digest="d",
        snapshot_digest="s",
        run="runs/run-1",
    )


def test_a_version_is_registered_once(models: ModelStore, version: Version) -> None:
    number = models.register(version)
    assert models.register(version) == number
    other = replace(version, number=2)
    assert models.register(other) != number


def test_many_who_register_one_version_at_once_register_it_once(
    models: ModelStore, version: Version
) -> None:
    with ThreadPoolExecutor(3) as threads:
        numbers = set(threads.map(models.register, [version] * 3))
    assert len(numbers) == 1


def _aliases(models: ModelStore, key: PolicyKey) -> dict[str, str]:
    """Where each alias points, asked of the twin or of the server itself."""
    name = Naming("local").model(key)
    if isinstance(models, MemoryModels):
        return models.aliases[name]
    found = models._client.get_registered_model(name).aliases  # type: ignore[attr-defined]
    return {alias: str(number) for alias, number in found.items()}


def test_aliases_point_and_are_taken_away(models: ModelStore, version: Version) -> None:
    number = models.register(version)
    models.point(version.key, "challenger", version)
    models.point(version.key, "champion", version)
    assert _aliases(models, version.key) == {"challenger": number, "champion": number}
    models.point(version.key, "challenger", None)
    models.point(version.key, "challenger", None)
    assert _aliases(models, version.key) == {"champion": number}


def test_the_base_model_bears_no_alias(models: ModelStore, version: Version) -> None:
    models.register(version)
    models.point(version.key, "champion", version)
    models.point(version.key, "champion", replace(version, number=0))
    assert _aliases(models, version.key) == {}


def test_an_adapter_comes_back_as_it_was_registered(models: ModelStore, version: Version) -> None:
    assert not models.holds(version)
    with pytest.raises(NotFound) as told, models.fetched(version):
        pass
    assert told.value.reason == "NOT_IN_MODEL_STORE"
    models.register(version)
    assert models.holds(version)
    assert not models.holds(replace(version, number=2))
    with models.fetched(version) as folder:
        if not isinstance(models, MemoryModels):
            files = {file.name: file.read_bytes() for file in Path(folder).iterdir()}
            assert files == {
                "adapter_config.json": b"{}",
                "adapter_model.safetensors": b"weights",
            }
    if not isinstance(models, MemoryModels):
        assert not Path(folder).exists()


def test_mlflow_holds_the_adapter_and_where_it_came_from(version: Version, mlflow_url: str) -> None:
    models = _real(mlflow_url)
    from mlflow import MlflowClient

    number = models.register(version)
    models.point(version.key, "champion", version)
    client = MlflowClient(tracking_uri=mlflow_url)
    name = Naming("local").model(version.key)
    found = client.get_model_version_by_alias(name, "champion")
    assert (found.version, found.tags["version"]) == (number, version.version)
    assert found.tags["snapshot_digest"] == "s"
    assert found.run_id is not None
    files = {file.path for file in client.list_artifacts(found.run_id, "adapter")}
    assert files == {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"}


def test_a_locked_database_of_mlflow_is_said_and_registers_once_it_is_free(
    version: Version, mlflow_stack: LocalStack, mlflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process holds MLflow's own database, such as one that copies it."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    models = _real(mlflow_url)
    models.register(version)
    other = replace(version, number=2)
    holder = sqlite3.connect(mlflow_stack.settings.data / "mlflow" / "mlflow.db")
    holder.execute("BEGIN EXCLUSIVE")
    with ThreadPoolExecutor(
        2
    ) as threads:  # at once, as MLflow itself waits a while for its database
        refused = (
            threads.submit(models.register, other),
            threads.submit(models.point, version.key, "champion", version),
        )
        reasons = [_reason(call.exception()) for call in refused]
    holder.close()
    assert reasons == ["MLFLOW_AWAY"] * 2
    number = models.register(other)
    assert models.register(other) == number
    models.point(version.key, "champion", version)
    assert _aliases(models, version.key) == {"champion": models.register(version)}


def _reason(error: BaseException | None) -> str:
    assert isinstance(error, Unavailable), error
    return error.reason


def test_a_server_that_is_away_is_said(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    from services.registry.adapters.mlflow_models import MlflowModels

    with pytest.raises(Unavailable) as raised:
        MlflowModels("http://127.0.0.1:9", Naming("local")).register(version)
    assert raised.value.reason == "MLFLOW_AWAY"
