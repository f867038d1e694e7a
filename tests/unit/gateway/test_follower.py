"""The gateway follows a registry that comes, changes and goes."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

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
        self.queue: asyncio.Queue[pb.Rollout] = asyncio.Queue()

    async def WatchRollout(
        self, request: pb.WatchRolloutRequest, context: Any
    ) -> AsyncIterator[pb.WatchRolloutResponse]:
        while True:
            yield pb.WatchRolloutResponse(rollout=await self.queue.get())

    async def ListVersions(
        self, request: pb.ListVersionsRequest, context: Any
    ) -> pb.ListVersionsResponse:
        unchecked = version("assistant-v9", pb.VERSION_STATE_REGISTERED)
        return pb.ListVersionsResponse(versions=[version("assistant-v2"), unchecked])


async def test_the_rollout_is_followed_kept_and_outlives_the_registry(
    tmp_path: Path, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry()  # type: ignore[abstract]  # serves only what is followed
    mount = partial(pb_grpc.add_RegistryServiceServicer_to_server, registry)
    mounts = [("trimtab.registry.v1.RegistryService", mount)]
    server = RpcServer("registry", mounts, drain_s=0.0)
    rollouts = RolloutCache(Rollout(0, Version("assistant-v0", "base")), "default")
    file = RolloutFile(tmp_path / "rollout.json")
    async with aio_channel(f"127.0.0.1:{await server.start()}") as channel:
        following = asyncio.create_task(RolloutFollower(channel, rollouts, file).run())
        first = pb.Rollout(revision=1, champion=version("assistant-v1"))
        second = pb.Rollout(
            revision=2,
            champion=version("assistant-v1"),
            canary=version("assistant-v2"),
            canary_share=0.25,
        )
        await registry.queue.put(first)
        await eventually(lambda: rollouts.current.revision == 1)
        await registry.queue.put(pb.Rollout(revision=9))  # names no champion: not believed
        await registry.queue.put(second)
        await eventually(lambda: rollouts.current.revision == 2)
        canary = Version("assistant-v2", "assistant-v2")
        assert rollouts.current.canary == canary
        assert rollouts.current.canary_share == 0.25
        assert [one.name for one in rollouts.current.versions()] == ["assistant-v1", "assistant-v2"]
        assert (rollouts.source, rollouts.connected) == ("registry", True)
        # A replica that lags does not bring back what is over.
        await registry.queue.put(first)
        await eventually(lambda: rollouts.refused_revision == 1)
        assert rollouts.current.canary == canary
        assert rollouts.status()["refused_revision"] == 1
        assert any("remove" in one.message for one in caplog.records if one.levelname == "ERROR")
        await registry.queue.put(second)
        await eventually(lambda: rollouts.refused_revision is None)
        await server.drain()
        await eventually(lambda: not rollouts.connected)
        assert rollouts.current.canary == canary
        following.cancel()
    assert file.load() == rollouts.current
