"""Operations are visible to the tenant that began them, and to trusted internal callers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from google.longrunning import operations_pb2 as pb
from google.longrunning import operations_pb2_grpc as pb_grpc

from shared.access.admission import KeyedAccess
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.calls.client import Calling, aio_channel, metadata, translated
from shared.calls.server import RpcServer
from shared.gen.trimtab.reward.v1 import reward_pb2
from shared.language.errors import NotFound
from shared.language.keys import LiveKey, new_secret, secret_digest
from shared.serving import operations_api
from shared.state import operations
from shared.state.database import Database

TOKEN = "a-token-between-services"
SECRETS = {"acme": new_secret(), "globex": new_secret()}


@pytest.fixture
async def address() -> AsyncIterator[str]:
    database = Database("sqlite://")
    with database.begin() as transaction:
        for name, tenant in (("a", "acme"), ("g", "globex"), ("shared", "")):
            queued = reward_pb2.TrainRewardModelMetadata(step="queued")
            operations.begin(transaction, f"operations/{name}", queued, tenant=tenant)
    book = KeyBook(lambda: datetime(2026, 1, 1, tzinfo=UTC))
    keys = [
        LiveKey(secret_digest(secret), tenant, tenant, frozenset({"reader"}))
        for tenant, secret in SECRETS.items()
    ]
    book.put(keys, {})
    access = KeyedAccess(book, Quotas(lambda: book.quotas), TOKEN)
    server = RpcServer("test", [operations_api.mount(database)], drain_s=0.1, access=access)
    yield f"127.0.0.1:{await server.start()}"
    await server.drain()


async def _names(address: str, calling: Calling) -> list[str]:
    async with aio_channel(address, calling) as channel:
        stub = pb_grpc.OperationsStub(channel)
        with translated("test"):
            listed = await stub.ListOperations(pb.ListOperationsRequest(), metadata=metadata())
    return sorted(operation.name for operation in listed.operations)


async def _get(address: str, calling: Calling, name: str) -> str:
    async with aio_channel(address, calling) as channel:
        request = pb.GetOperationRequest(name=f"operations/{name}")
        with translated("test"):
            found = await pb_grpc.OperationsStub(channel).GetOperation(request, metadata=metadata())
    return str(found.name)


async def _wait(address: str, calling: Calling, name: str) -> str:
    async with aio_channel(address, calling) as channel:
        request = pb.WaitOperationRequest(name=f"operations/{name}")
        request.timeout.FromMilliseconds(10)
        with translated("test"):
            found = await pb_grpc.OperationsStub(channel).WaitOperation(
                request, metadata=metadata()
            )
    return str(found.name)


async def test_a_key_sees_the_operations_of_its_own_tenant(address: str) -> None:
    acme = Calling(api_key=SECRETS["acme"])
    assert await _names(address, acme) == ["operations/a", "operations/shared"]
    for asked in (_get, _wait):
        assert await asked(address, acme, "a") == "operations/a"
        with pytest.raises(NotFound):
            await asked(address, acme, "g")


async def test_an_internal_caller_sees_all(address: str) -> None:
    internal = Calling(token=TOKEN)
    assert await _names(address, internal) == [
        "operations/a",
        "operations/g",
        "operations/shared",
    ]
    assert await _get(address, internal, "g") == "operations/g"
