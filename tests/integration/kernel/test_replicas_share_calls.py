"""Replicas behind one address: a caller keeps no connection for ever, so each gets calls, and none fails."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from shared.calls import server as calls
from shared.calls.client import aio_channel, channel
from shared.calls.server import RpcServer
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1 import interaction_pb2_grpc as pb_grpc

NAME = "trimtab.interaction.v1.InteractionService"
AGE_S, CALL_S, CALLS = 0.3, 0.01, 150


class Replica(pb_grpc.InteractionServiceServicer):
    """Counts the calls that it answers."""

    calls = 0

    async def GetConversation(self, request: Any, context: Any) -> pb.GetConversationResponse:
        await asyncio.sleep(CALL_S)
        self.calls += 1
        return pb.GetConversationResponse()


@asynccontextmanager
async def shared_address(ports: Sequence[int]) -> AsyncIterator[str]:
    """As a Service of Kubernetes: each connection goes to one of the ports, here in turn."""
    turns: Iterator[int] = itertools.cycle(ports)
    flows: set[asyncio.Task[None]] = set()

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(65_536):
            sink.write(piece)
        sink.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", next(turns))
        flows.update(
            asyncio.create_task(pass_on(*way)) for way in ((reader, there[1]), (there[0], writer))
        )

    server = await asyncio.start_server(join, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for flow in flows:
            flow.cancel()


async def counts(one_by_one: bool) -> list[int]:
    """How many of the calls each of two replicas answered; all were answered."""
    replicas = [Replica(), Replica()]  # type: ignore[abstract]  # one method is enough
    servers = [
        RpcServer(
            "test",
            [(NAME, partial(pb_grpc.add_InteractionServiceServicer_to_server, one))],
            drain_s=0,
        )
        for one in replicas
    ]
    ports = [await server.start() for server in servers]
    async with shared_address(ports) as address:
        await (blocking(address) if one_by_one else at_once(address))
    for server in servers:
        await server.drain()
    assert sum(one.calls for one in replicas) == CALLS
    return [one.calls for one in replicas]


async def at_once(address: str) -> None:
    """Five calls are always under way."""
    left = iter(range(CALLS))
    async with aio_channel(address) as opened:
        get = pb_grpc.InteractionServiceStub(opened).GetConversation

        async def caller() -> None:
            for _ in left:
                await get(pb.GetConversationRequest(), timeout=5)
                await asyncio.sleep(CALL_S * 5)

        await asyncio.gather(*(caller() for _ in range(5)))


async def blocking(address: str) -> None:
    def all_calls() -> None:
        with channel(address) as opened:
            get = pb_grpc.InteractionServiceStub(opened).GetConversation
            for _ in range(CALLS):
                get(pb.GetConversationRequest(), timeout=5)

    await asyncio.to_thread(all_calls)


@pytest.mark.parametrize("one_by_one", [True, False], ids=["one by one", "five at once"])
async def test_a_caller_comes_to_every_replica_and_no_call_fails(
    one_by_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "CONNECTION_AGE_S", AGE_S)
    first, second = await counts(one_by_one)
    assert min(first, second) > CALLS // 10


async def test_a_young_connection_stays() -> None:
    assert sorted(await counts(one_by_one=True)) == [0, CALLS]
