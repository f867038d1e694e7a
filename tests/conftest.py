"""Real parts for contract and integration tests: each starts once a session, when first asked for."""

from collections.abc import Iterator

import pytest

from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack


def _part(name: str, paths: pytest.TempPathFactory) -> Iterator[LocalStack]:
    stack = LocalStack(load_on_free_ports(paths.mktemp(name)))
    try:
        stack.up(only=[name])
        yield stack
    finally:
        stack.down()


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
