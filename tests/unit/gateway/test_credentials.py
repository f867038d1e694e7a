"""Turns wait for as long as a real server refuses the gateway's credentials, and none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from infra.local.ports import free_ports
from services.gateway.adapters.interaction import InteractionSink
from services.gateway.adapters.spool import FileSpool
from services.gateway.app.recorder import Recorder
from shared.access.admission import KeyedAccess
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.calls.client import Calling, aio_channel
from shared.calls.server import Mount, RpcServer
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.gen.trimtab.interaction.v1 import interaction_pb2_grpc as pb_grpc
from shared.language.messages import text_message
from shared.language.times import now
from shared.language.turns import Turn

OURS, NEW = "the-token-that-all-had", "the-token-after-the-rotation"


class Interaction(pb_grpc.InteractionServiceServicer):
    """Remembers what it accepted."""

    def __init__(self) -> None:
        self.indexes: list[int] = []

    async def LogTurns(self, request: pb.LogTurnsRequest, context: Any) -> pb.LogTurnsResponse:
        self.indexes += [turn.index for turn in request.turns]
        return pb.LogTurnsResponse(names=[turn.name for turn in request.turns])

    def mounts(self) -> list[Mount]:
        add = partial(pb_grpc.add_InteractionServiceServicer_to_server, self)
        return [("trimtab.interaction.v1.InteractionService", add)]


@asynccontextmanager
async def serving(port: int, mounts: Sequence[Mount], token: str) -> AsyncIterator[None]:
    book = KeyBook(now)
    access = KeyedAccess(book, Quotas(lambda: book.quotas), token)
    server = RpcServer("interaction", mounts, port=port, drain_s=0.1, access=access)
    await server.start()
    try:
        yield
    finally:
        await server.drain()


async def test_a_token_that_is_rotated_and_a_method_that_is_missing_lose_nothing(
    tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    (port,) = free_ports(1)
    interaction = Interaction()  # type: ignore[abstract]  # turns are all it takes
    spool = FileSpool(tmp_path)
    async with aio_channel(f"127.0.0.1:{port}", Calling(token=OURS)) as channel:
        recorder = Recorder(spool, InteractionSink(channel, timeout_s=5.0))
        running = asyncio.create_task(recorder.run())

        def record(index: int) -> None:
            message = text_message("user", f"say {index}")
            recorder.record([Turn("local", "c", index, message, "ada")])

        def waits_for(reason: str) -> bool:
            return "local" in recorder.waits and recorder.waits["local"].reason == reason

        async with serving(port, interaction.mounts(), OURS):
            record(0)
            await eventually(lambda: interaction.indexes == [0])
        async with serving(port, interaction.mounts(), NEW):
            record(1)
            await eventually(lambda: waits_for("MISSING_API_KEY"), 15)
            record(2)
        async with serving(port, [], OURS):
            await eventually(lambda: waits_for("UNIMPLEMENTED"), 15)
            record(3)
        assert (recorder.pending, interaction.indexes) == (3, [0])
        async with serving(port, interaction.mounts(), OURS):
            await eventually(lambda: not recorder.pending, 15)
        running.cancel()
    spool.close()
    assert interaction.indexes == [0, 1, 2, 3]
    assert (recorder.counts.forwarded, recorder.counts.refused) == (4, {})
