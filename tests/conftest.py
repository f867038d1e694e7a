"""Real parts for contract and integration tests: each starts once per session, on first use."""

import gc
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from sqlalchemy.engine import make_url

from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack
from tests import postgres

# What is found counts, not how busy the machine is.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_collection_finish() -> None:
    """What was imported stays until the end: the garbage collector need not walk it over and over, and it
    looks less often, as in our services."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _part(name: str, paths: pytest.TempPathFactory) -> Iterator[LocalStack]:
    stack = LocalStack(load_on_free_ports(paths.mktemp(name)))
    try:
        stack.up(only=[name])
        yield stack
    finally:
        stack.discard()


@pytest.fixture(scope="session")
def kafka_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    yield from _part("kafka", tmp_path_factory)


@pytest.fixture(scope="session")
def mlflow_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    yield from _part("mlflow", tmp_path_factory)


@pytest.fixture(scope="session")
def vllm_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    yield from _part("vllm", tmp_path_factory)


@pytest.fixture(scope="session")
def kafka_address(kafka_stack: LocalStack) -> str:
    return kafka_stack.env()["TRIMTAB_KAFKA"]


@pytest.fixture(scope="session")
def mlflow_url(mlflow_stack: LocalStack) -> str:
    return mlflow_stack.env()["TRIMTAB_MLFLOW_URL"]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of this session's own PostgreSQL."""
    folder = postgres.programs()
    if folder is None:
        pytest.fail("PostgreSQL is not installed: apt-get install postgresql")
    with postgres.server(folder) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    server = make_url(request.getfixturevalue("postgres_server"))
    name = f"test_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.set(database=name).render_as_string(hide_password=False)
