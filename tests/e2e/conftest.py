"""One stack of doors for all tests that leave it standing: Kafka, interaction and gateway."""

from collections.abc import Iterator

import pytest

from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack


@pytest.fixture(scope="session")
def doors_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """vLLM's port is free: a test may serve a model of its own there."""
    made = LocalStack(load_on_free_ports(tmp_path_factory.mktemp("doors")))
    try:
        made.up(only=["kafka", "interaction", "gateway"], timeout_s=90)
        yield made
    finally:
        made.discard()
