"""The gateway follows a registry that comes, changes and goes."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from services.gateway.adapters.rollouts import RolloutFile, RolloutFollower
from services.gateway.app.rollouts import RolloutCache
from services.gateway.domain.rollout import Rollout, Version
from shared.calls.client import aio_channel
from shared.calls.server import RpcServer
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1 import registry_pb2_grpc as pb_grpc


def version(name: str, state: Any = pb.VERSION_STATE_VERIFIED) -> pb.ModelVersion:
    return pb.ModelVersion(version=name, served_name=name, state=state)


class Registry(pb_grpc.RegistryServiceServicer):
    def __init__(self) -> None:
        self.rollouts: asyncio.Queue[pb.Rollout] = asyncio.Queue()

    async def WatchRollout(
        self, request: pb.WatchRolloutRequest, context: Any
    ) -> AsyncIterator[pb.WatchRolloutResponse]:
        while True:
            yield pb.WatchRolloutResponse(rollout=await self.rollouts.get())

    async def ListVersions(
        self, request: pb.ListVersionsRequest, context: Any
    ) -> pb.ListVersionsResponse:
        unchecked = version("assistant-v9", pb.VERSION_STATE_REGISTERED)
        return pb.ListVersionsResponse(versions=[version("assistant-v2"), unchecked])


async def test_the_rollout_is_followed_kept_and_outlives_the_registry(
    tmp_path: Path, eventually: Any
) -> None:
    registry = Registry()
    mount = partial(pb_grpc.add_RegistryServiceServicer_to_server, registry)
    mounts = [("trimtab.registry.v1.RegistryService", mount)]
    server = RpcServer("registry", mounts, drain_s=0.0)
    book = RolloutCache(Rollout(0, Version("assistant-v0", "base")), "default")
    file = RolloutFile(tmp_path / "rollout.json")
    async with aio_channel(f"127.0.0.1:{await server.start()}") as channel:
        following = asyncio.create_task(RolloutFollower(channel, book, file).run())
        first = pb.Rollout(revision=1, champion=version("assistant-v1"))
        second = pb.Rollout(
            revision=2,
            champion=version("assistant-v1"),
            canary=version("assistant-v2"),
            canary_share=0.25,
        )
        await registry.rollouts.put(first)
        await eventually(lambda: book.current.revision == 1)
        await registry.rollouts.put(pb.Rollout(revision=9))  # names no champion: not believed
        await registry.rollouts.put(second)
        await eventually(lambda: book.current.revision == 2)
        canary = Version("assistant-v2", "assistant-v2")
        assert book.current.canary == canary
        assert book.current.canary_share == 0.25
        assert [one.name for one in book.current.versions()] == ["assistant-v1", "assistant-v2"]
        assert (book.source, book.connected) == ("registry", True)
        await server.drain()
        await eventually(lambda: not book.connected)
        assert book.current.canary == canary
        following.cancel()
    assert file.load() == book.current
