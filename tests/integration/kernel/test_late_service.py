"""A service that starts a moment late is waited for by calls that may be repeated, and by no others."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from infra.local.ports import free_ports
from shared.calls.client import aio_channel

HEALTH = "grpc.health.v1.Health"


async def _check_while_it_starts(repeated: str) -> int:
    """The answer of a service that begins to listen 0.7 s after it was called twice."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    async with aio_channel(address, repeated=repeated) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        async def check() -> int:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
            return int(answer.status)

        called = asyncio.create_task(check())
        await asyncio.sleep(0.7)
        server = grpc.aio.server()
        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        server.add_insecure_port(address)
        await server.start()
        try:
            return await called
        finally:
            await server.stop(0)


def test_calls_that_may_be_repeated_wait_for_a_service_that_starts() -> None:
    assert asyncio.run(_check_while_it_starts(HEALTH)) == health_pb2.HealthCheckResponse.SERVING


def test_other_calls_fail_immediately() -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        asyncio.run(_check_while_it_starts(""))
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
