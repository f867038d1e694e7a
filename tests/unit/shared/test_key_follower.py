"""Keys that cannot be read end no process: the last known ones stay, and those that come next are taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.access.key_book import KeyBook
from shared.calls.client import Calling
from shared.calls.server import RpcServer
from shared.gen.trimtab.interaction.v1 import keys_pb2 as pb
from shared.gen.trimtab.interaction.v1 import keys_pb2_grpc as pb_grpc
from shared.language.times import now
from shared.serving.key_follower import KeyFile, KeyFollower


def keys(quota: float, expires_s: int = 0) -> pb.WatchKeysResponse:
    known = pb.WatchKeysResponse(quotas={"local": pb.Quota(requests_per_second=quota)})
    if expires_s:
        known.keys.add(digest="d", tenant="local", key_id="k").expire_time.seconds = expires_s
    return known


class Interaction(pb_grpc.KeyServiceServicer):
    """Says one thing to each watch, the last of them to all that follow."""

    def __init__(self, *says: pb.WatchKeysResponse) -> None:
        self.says, self.watches = says, 0

    async def WatchKeys(
        self, request: pb.WatchKeysRequest, context: Any
    ) -> AsyncIterator[pb.WatchKeysResponse]:
        self.watches += 1
        yield self.says[min(self.watches, len(self.says)) - 1]


async def test_a_key_that_cannot_be_read_ends_no_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    after_all_dates = 2**60
    interaction = Interaction(keys(1.0), keys(2.0, after_all_dates), keys(3.0))  # type: ignore[abstract]
    add = partial(pb_grpc.add_KeyServiceServicer_to_server, interaction)
    server = RpcServer("interaction", [("trimtab.interaction.v1.KeyService", add)], drain_s=0.0)
    book = KeyBook(now)
    address = f"127.0.0.1:{await server.start()}"
    follower = KeyFollower(address, Calling(), book, KeyFile(tmp_path / "keys.json"))
    running = asyncio.create_task(follower.run())
    heard: list[float] = []
    try:
        async with asyncio.timeout(20):
            while 3.0 not in heard:
                assert not running.done()
                if "local" in book.quotas and book.quotas["local"].requests_per_s not in heard:
                    heard.append(book.quotas["local"].requests_per_s)
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await server.drain()
    assert heard == [1.0, 3.0]
    assert "the last known keys stay valid" in caplog.text
