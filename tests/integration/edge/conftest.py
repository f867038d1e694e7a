"""Real Kafka, the real interaction service and gateway, a scripted model server on vLLM's port."""

from collections.abc import Iterator

import pytest

from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    made = LocalStack(load_on_free_ports(tmp_path_factory.mktemp("edge")))
    try:
        made.up(only=["kafka", "interaction", "gateway"], timeout_s=90)
        yield made
    finally:
        made.discard()
