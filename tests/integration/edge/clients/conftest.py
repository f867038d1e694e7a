"""A real gateway, and a model server that real client libraries talk to; one stack for all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack
from tests.integration.edge.clients.running import Door, ToolModel
from tests.integration.edge.store import Interaction


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    made = LocalStack(load_on_free_ports(tmp_path_factory.mktemp("clients")))
    try:
        made.up(only=["kafka", "interaction", "gateway"], timeout_s=90)
        yield made
    finally:
        made.discard()


@pytest.fixture(scope="package")
def model() -> Iterator[ToolModel]:
    made = ToolModel()
    yield made
    made.close()


@pytest.fixture
async def door(stack: LocalStack, model: ToolModel) -> AsyncIterator[Door]:
    stack.wait_ready(["interaction", "gateway"])
    store = Interaction(stack)
    yield Door(stack, store, model.url)
    await store.close()
