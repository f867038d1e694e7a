"""A registry and a key service that can be watched: `python watched.py PORT`. SIGUSR1 makes a change."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from shared.calls.server import RpcServer
from shared.gen.trimtab.interaction.v1 import keys_pb2, keys_pb2_grpc
from shared.gen.trimtab.registry.v1 import registry_pb2, registry_pb2_grpc


class Watched(registry_pb2_grpc.RegistryServiceServicer, keys_pb2_grpc.KeyServiceServicer):
    def __init__(self) -> None:
        self.revision = 1

    async def WatchServed(
        self, request: registry_pb2.WatchServedRequest, context: Any
    ) -> AsyncIterator[registry_pb2.WatchServedResponse]:
        async for revision in self._changes():
            champion = registry_pb2.ModelVersion(version=f"assistant-v{revision}")
            rollout = registry_pb2.Rollout(revision=revision, champion=champion)
            served = registry_pb2.Served(tenant="local", policy="assistant", rollout=rollout)
            yield registry_pb2.WatchServedResponse(served=[served])

    async def WatchKeys(
        self, request: keys_pb2.WatchKeysRequest, context: Any
    ) -> AsyncIterator[keys_pb2.WatchKeysResponse]:
        async for revision in self._changes():
            quota = keys_pb2.Quota(requests_per_second=revision)
            yield keys_pb2.WatchKeysResponse(quotas={"local": quota})

    async def _changes(self) -> AsyncIterator[int]:
        seen = 0
        while True:
            if self.revision != seen:
                seen = self.revision
                yield seen
            await asyncio.sleep(0.05)


async def main(port: int) -> None:
    watched = Watched()  # type: ignore[abstract]  # serves only what is watched

    def change() -> None:
        watched.revision += 1

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, change)
    mounts = [
        (
            "trimtab.registry.v1.RegistryService",
            partial(registry_pb2_grpc.add_RegistryServiceServicer_to_server, watched),
        ),
        (
            "trimtab.interaction.v1.KeyService",
            partial(keys_pb2_grpc.add_KeyServiceServicer_to_server, watched),
        ),
    ]
    server = RpcServer("watched", mounts, port=port)
    await server.start()
    print("serves", flush=True)
    await asyncio.Event().wait()
    await server.drain()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
