"""The error tree, its one status table, and what a caller sees of it over a real server on loopback."""

from __future__ import annotations

from functools import partial
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared.calls.client import aio_channel, metadata
from shared.calls.server import RpcServer, tenant_of
from shared.contracts.status import decode_error
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1 import interaction_pb2_grpc as pb_grpc
from shared.language import errors

ROWS = [
    (errors.Cancelled, 1, 499),
    (errors.InvalidArgument, 3, 400),
    (errors.DeadlineExceeded, 4, 504),
    (errors.NotFound, 5, 404),
    (errors.AlreadyExists, 6, 409),
    (errors.PermissionDenied, 7, 403),
    (errors.ResourceExhausted, 8, 429),
    (errors.FailedPrecondition, 9, 409),
    (errors.Unimplemented, 12, 501),
    (errors.Internal, 13, 500),
    (errors.Unavailable, 14, 503),
    (errors.Unauthenticated, 16, 401),
]


@pytest.mark.parametrize(("kind", "code", "http"), ROWS)
def test_each_error_has_its_row(kind: type[errors.TrimtabError], code: int, http: int) -> None:
    status = errors.status_of(kind("words"))
    assert (status.code, status.http) == (code, http)
    assert status.name == {v.value[0]: v.name for v in grpc.StatusCode}[code]
    assert type(errors.from_code(code, "words", "REASON")) is kind


def test_the_table_has_every_error() -> None:
    assert {row[0] for row in ROWS} == set(errors.TrimtabError.__subclasses__())


def test_what_is_not_ours_is_internal() -> None:
    assert errors.status_of(ValueError("x")).name == "INTERNAL"


class Servicer(pb_grpc.InteractionServiceServicer):
    """Raises the error that the request names."""

    async def GetConversation(self, request: Any, context: Any) -> pb.GetConversationResponse:
        if request.name == "defect":
            raise ZeroDivisionError
        if request.name == "tenant":
            return pb.GetConversationResponse(conversation=pb.Conversation(name=tenant_of(context)))
        raise errors.ResourceExhausted("too many", reason="QUOTA", field="name", retry_after_s=1.5)


@pytest.fixture
async def stub() -> Any:
    mount = partial(pb_grpc.add_InteractionServiceServicer_to_server, Servicer())  # type: ignore[abstract]  # one method is enough
    server = RpcServer("test", [("trimtab.interaction.v1.InteractionService", mount)], drain_s=0)
    port = await server.start()
    async with aio_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.drain()


async def _call(channel: Any, name: str, tenant: str = "") -> Any:
    stub = pb_grpc.InteractionServiceStub(channel)
    request = pb.GetConversationRequest(name=name)
    return await stub.GetConversation(request, metadata=metadata(tenant), timeout=5)


async def test_an_error_crosses_the_wire_whole(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await _call(stub, "quota")
    error = decode_error(caught.value, "test")
    assert isinstance(error, errors.ResourceExhausted)
    assert (error.reason, error.field, error.retry_after_s) == ("QUOTA", "name", 1.5)
    assert error.message == "too many"


async def test_a_defect_is_internal_and_tells_no_more_than_its_kind(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await _call(stub, "defect")
    error = decode_error(caught.value, "test")
    assert isinstance(error, errors.Internal)
    assert "ZeroDivisionError" in error.message


async def test_the_tenant_comes_from_metadata_and_is_required(stub: Any) -> None:
    assert (await _call(stub, "tenant", "acme")).conversation.name == "acme"
    with pytest.raises(grpc.RpcError) as caught:
        await _call(stub, "tenant")
    assert decode_error(caught.value, "test").reason == "TENANT_MISSING"


async def test_an_unknown_method_and_health(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await pb_grpc.InteractionServiceStub(stub).ListConversations(pb.ListConversationsRequest())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    health = health_pb2_grpc.HealthStub(stub)
    request = health_pb2.HealthCheckRequest(service="trimtab.interaction.v1.InteractionService")
    assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING


async def test_nobody_listening_is_unavailable_with_a_delay() -> None:
    async with aio_channel("127.0.0.1:1") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            await _call(channel, "x")
    error = decode_error(caught.value, "interaction")
    assert isinstance(error, errors.Unavailable)
    assert (error.reason, error.retry_after_s) == ("SERVICE_AWAY", 1.0)
