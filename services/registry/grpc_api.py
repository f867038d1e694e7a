"""trimtab.registry.v1.RegistryService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from services.registry.app.registry import Registry
from services.registry.codec import (
    decode_registration,
    decode_version_id,
    encode_rollout,
    encode_version,
)
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1 import registry_pb2_grpc as pb_grpc
from shared.language.paging import decode_token, encode_token, page_size

Listen = Callable[[Callable[[], None]], None]


class RolloutFeed:
    """Wakes every watcher after each commit of this process. Commits of other replicas are looked for
    every `looks_s` seconds."""

    def __init__(self, listen: Listen, looks_s: float = 1.0) -> None:
        self._looks_s = looks_s
        self._watchers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        listen(self._changed)

    def join(self) -> tuple[asyncio.AbstractEventLoop, asyncio.Event]:
        watcher = (asyncio.get_running_loop(), asyncio.Event())
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: tuple[asyncio.AbstractEventLoop, asyncio.Event]) -> None:
        self._watchers.discard(watcher)

    async def next(self, watcher: tuple[asyncio.AbstractEventLoop, asyncio.Event]) -> None:
        """Returns when something may have changed."""
        # Not by wait_for, which in Python 3.11 loses a cancellation that comes at the same moment as the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._looks_s):
                await watcher[1].wait()

    def _changed(self) -> None:
        for loop, event in tuple(self._watchers):
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)


class RegistryServicer(pb_grpc.RegistryServiceServicer):
    def __init__(self, app: Registry, feed: RolloutFeed) -> None:
        self._app, self._feed = app, feed

    async def RegisterVersion(
        self, request: pb.RegisterVersionRequest, context: Any
    ) -> pb.RegisterVersionResponse:
        version = await asyncio.to_thread(self._app.register, decode_registration(request))
        return pb.RegisterVersionResponse(version=encode_version(version))

    async def GetVersion(
        self, request: pb.GetVersionRequest, context: Any
    ) -> pb.GetVersionResponse:
        version = await asyncio.to_thread(self._app.get, decode_version_id(request.name))
        return pb.GetVersionResponse(version=encode_version(version))

    async def ListVersions(
        self, request: pb.ListVersionsRequest, context: Any
    ) -> pb.ListVersionsResponse:
        size, below = page_size(request.page_size), decode_token(request.page_token, "versions")
        start = below if isinstance(below, int) else None
        found = await asyncio.to_thread(self._app.versions, start, size + 1)
        more = len(found) > size
        return pb.ListVersionsResponse(
            versions=[encode_version(version) for version in found[:size]],
            next_page_token=encode_token(found[size - 1].number, "versions") if more else "",
        )

    async def StartRollout(
        self, request: pb.StartRolloutRequest, context: Any
    ) -> pb.StartRolloutResponse:
        await asyncio.to_thread(
            self._app.start_rollout,
            request.request_id,
            decode_version_id(request.version),
            request.canary_share,
            request.actor,
            request.reason,
        )
        return pb.StartRolloutResponse(rollout=await self._rollout())

    async def GetRollout(
        self, request: pb.GetRolloutRequest, context: Any
    ) -> pb.GetRolloutResponse:
        return pb.GetRolloutResponse(rollout=await self._rollout())

    async def WatchRollout(
        self, request: pb.WatchRolloutRequest, context: Any
    ) -> AsyncIterator[pb.WatchRolloutResponse]:
        watcher, revision = self._feed.join(), -1
        try:
            while True:
                watcher[1].clear()
                rollout = await self._rollout()
                if rollout.revision != revision:
                    revision = rollout.revision
                    yield pb.WatchRolloutResponse(rollout=rollout)
                await self._feed.next(watcher)
        finally:
            self._feed.leave(watcher)

    async def PromoteVersion(
        self, request: pb.PromoteVersionRequest, context: Any
    ) -> pb.PromoteVersionResponse:
        version = decode_version_id(request.version)
        await asyncio.to_thread(
            self._app.promote, version, request.actor, request.reason, request.revision
        )
        return pb.PromoteVersionResponse(rollout=await self._rollout())

    async def RollbackVersion(
        self, request: pb.RollbackVersionRequest, context: Any
    ) -> pb.RollbackVersionResponse:
        await asyncio.to_thread(
            self._app.rollback,
            request.request_id,
            request.actor,
            request.reason,
            request.revision,
        )
        return pb.RollbackVersionResponse(rollout=await self._rollout())

    async def RejectVersion(
        self, request: pb.RejectVersionRequest, context: Any
    ) -> pb.RejectVersionResponse:
        version = decode_version_id(request.version)
        rejected = await asyncio.to_thread(self._app.reject, version, request.actor, request.reason)
        return pb.RejectVersionResponse(version=encode_version(rejected))

    async def _rollout(self) -> pb.Rollout:
        rollout, champion, canary = await asyncio.to_thread(self._app.rollout)
        return encode_rollout(rollout, champion, canary, self._app.policy)
