"""Follows what the registry serves, and keeps what was known last in a file."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import grpc

from services.gateway.app.rollouts import RolloutCache, some_of
from services.gateway.codec.rollouts import decode_kept, decode_served, encode_kept
from services.gateway.domain.policies import Served
from shared.calls.client import metadata
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1.registry_pb2_grpc import RegistryServiceStub

_log = logging.getLogger(__name__)
_LONGEST_WAIT_S = 5.0
# Whose rollout a file holds that was written before there were policies.
_OWN_TENANT = "local"
# How many policies a line of the log names.
_NAMED = 10


class RolloutFile:
    """What was served last, for a start while the registry is unavailable."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> list[Served]:
        """Nothing if there is no file, or it cannot be read (which is logged)."""
        if not self.path.exists():
            return []
        try:
            return decode_kept(json.loads(self.path.read_text()), _OWN_TENANT)
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s cannot be read and is not used: %s", self.path, error)
            return []

    def save(self, served: Iterable[Served]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps(encode_kept(served)))
        draft.replace(self.path)


class RolloutFollower:
    """Keeps the cache by WatchServed; reconnects for as long as it takes."""

    def __init__(
        self, channel: grpc.aio.Channel, rollouts: RolloutCache, file: RolloutFile
    ) -> None:
        self._stub, self._rollouts, self._file = RegistryServiceStub(channel), rollouts, file

    async def run(self) -> None:
        wait_s = 0.25
        while True:
            whole = True
            watch = self._stub.WatchServed(pb.WatchServedRequest(), metadata=metadata())
            try:
                async for response in watch:
                    await self._heard(response.served, whole)
                    wait_s, whole = 0.25, False
            except grpc.RpcError as error:
                _log.info(
                    "the registry is unavailable; what was served last stays in use: %s",
                    error.code(),
                )
            except Exception:  # noqa: BLE001 - it would end the process, and again after each start
                _log.exception("what the registry sent cannot be read; what was served last stays")
            watch.cancel()
            self._rollouts.lost()
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    async def _heard(self, said: Sequence[pb.Served], whole: bool) -> None:
        served = [one for one in map(_believed, said) if one is not None]
        news = [one for one in served if self._rollouts.served.get(one.key) != one]
        refused = self._rollouts.heard(served, whole=whole)
        if refused:
            _log.error(
                "what the registry says about %s is older than what is in use; it is refused. If the registry"
                " was restored to an earlier state on purpose, remove %s and restart the gateway",
                some_of([key.name for key in sorted(refused)], _NAMED),
                self._file.path,
            )
        try:
            known = list(self._rollouts.served.values())
            await asyncio.to_thread(self._file.save, known)
        except OSError as error:
            _log.error("what is served cannot be saved for a restart: %s", error)
        for one in news:
            if one.key not in refused:
                _log.info("%s", _words(one))


def _believed(said: pb.Served) -> Served | None:
    found = decode_served(said)
    if found is None:
        words = "the registry names no champion of policy %s of tenant %s; what was served last stays in use"
        _log.warning(words, said.policy, said.tenant)
    return found


def _words(served: Served) -> str:
    rollout = served.rollout
    if rollout is None:
        return f"{served.key.name} is deleted"
    canary = rollout.canary.name if rollout.canary else "none"
    return f"{served.key.name} {rollout.revision}: {rollout.champion.name}, canary {canary}"
