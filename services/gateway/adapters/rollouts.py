"""Follows the registry's rollout, and keeps the last known one in a file."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc

from services.gateway.app.rollouts import RolloutCache
from services.gateway.codec.rollouts import decode_rollout, decode_version
from services.gateway.domain.rollout import Rollout, Version
from shared.calls.client import metadata
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1.registry_pb2_grpc import RegistryServiceStub

_log = logging.getLogger(__name__)
_LONGEST_WAIT_S = 5.0
_ASKABLE = (
    pb.VERSION_STATE_VERIFIED,
    pb.VERSION_STATE_CANARY,
    pb.VERSION_STATE_CHAMPION,
    pb.VERSION_STATE_RETIRED,
    pb.VERSION_STATE_ROLLED_BACK,
)


class RolloutFile:
    """The last known rollout, used after a start while the registry is unavailable."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Rollout | None:
        """None if there is none, or it cannot be read (which is logged)."""
        if not self.path.exists():
            return None
        try:
            return _rollout(json.loads(self.path.read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s cannot be read and is not used: %s", self.path, error)
            return None

    def save(self, rollout: Rollout) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(rollout)))
        draft.replace(self.path)


class RolloutFollower:
    """Keeps the cache by WatchRollout; reconnects for as long as it takes."""

    def __init__(
        self, channel: grpc.aio.Channel, rollouts: RolloutCache, file: RolloutFile
    ) -> None:
        self._stub, self._rollouts, self._file = RegistryServiceStub(channel), rollouts, file

    async def run(self) -> None:
        wait_s = 0.25
        while True:
            try:
                async for response in self._stub.WatchRollout(
                    pb.WatchRolloutRequest(), metadata=metadata()
                ):
                    wait_s = 0.25
                    await self._heard(response.rollout)
            except grpc.RpcError as error:
                _log.info(
                    "the registry is unavailable; the last known rollout stays in use: %s",
                    error.code(),
                )
            self._rollouts.lost()
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    async def _heard(self, rollout: pb.Rollout) -> None:
        if not rollout.champion.version:
            _log.warning("the registry has no champion; the last known rollout stays in use")
            return
        known = decode_rollout(rollout, await self._others())
        if not self._rollouts.heard(known):
            _log.error(
                "the registry sends rollout %s, older than %s in use; it is refused. If the registry was set"
                " back on purpose, remove %s and restart the gateway",
                known.revision,
                self._rollouts.current.revision,
                self._file.path,
            )
            return
        try:
            self._file.save(known)
        except OSError as error:
            _log.error("the rollout cannot be saved for a restart: %s", error)
        canary = known.canary.name if known.canary else "none"
        _log.info("rollout %s: %s, canary %s", known.revision, known.champion.name, canary)

    async def _others(self) -> tuple[Version, ...]:
        """Versions that can be requested by name."""
        request = pb.ListVersionsRequest(page_size=1000)
        listed = await self._stub.ListVersions(request, metadata=metadata(), timeout=5.0)
        return tuple(decode_version(one) for one in listed.versions if one.state in _ASKABLE)


def _rollout(kept: dict[str, Any]) -> Rollout:
    return Rollout(
        revision=int(kept["revision"]),
        champion=Version(**kept["champion"]),
        canary=Version(**kept["canary"]) if kept["canary"] else None,
        canary_share=float(kept["canary_share"]),
        others=tuple(Version(**other) for other in kept["others"]),
    )
