"""A stack of its own in a temporary folder, for tests of the whole loop."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from infra.demo.clients import Clients
from infra.demo.progress import Progress
from infra.demo.stage import Stage, with_overlay
from infra.local.paths import REPO
from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack
from shared.calls.client import channel
from shared.gen.trimtab.common.v1.common_pb2 import GetStageCountsRequest
from shared.gen.trimtab.common.v1.common_pb2_grpc import StageServiceStub

_ADDRESS = "TRIMTAB_{}_ADDRESS"
_COUNTS = GetStageCountsRequest()
# Stacks that this process has made, for the report of a test that fails.
MADE: list[LocalStack] = []


@dataclass(frozen=True, slots=True)
class World:
    stack: LocalStack
    env: Mapping[str, str]
    key: str
    tenant: str

    @property
    def gateway_url(self) -> str:
        return self.env["TRIMTAB_GATEWAY_URL"]

    def come_to_rest(self, services: Sequence[str], within_s: float = 180.0) -> None:
        """Returns once nothing waits in Kafka or in an outbox of these services; fails with what does."""
        deadline = time.monotonic() + within_s
        with ExitStack() as channels:
            stubs = [
                StageServiceStub(
                    channels.enter_context(channel(self.env[_ADDRESS.format(name.upper())]))
                )
                for name in services
            ]
            # What one has handed on when it is asked may reach another that was asked before.
            quiet = 0
            while quiet < 2:
                found = [stub.GetStageCounts(_COUNTS, timeout=30.0) for stub in stubs]
                waiting = {
                    one.service: (one.outbox_pending, dict(one.lag))
                    for one in found
                    if one.outbox_pending or any(one.lag.values())
                }
                assert not waiting or time.monotonic() < deadline, f"never at rest: {waiting}"
                quiet = 0 if waiting else quiet + 1
                time.sleep(0.2)

    def trimtab(self, *line: str, timeout_s: float = 60.0) -> Any:
        """The command's JSON; what went wrong, if it failed."""
        command = [sys.executable, "-m", "services.cli.main", *line, "--json"]
        ran = subprocess.run(
            command,
            env={**os.environ, **self.env},
            cwd=REPO,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return json.loads(ran.stdout if ran.returncode == 0 else ran.stderr)

    def clients(self) -> Clients:
        """Of the running event loop; to be closed."""
        return Clients(self.env, self.tenant)

    def stage(self, clients: Clients, prefix: str) -> Stage:
        return Stage(
            prefix=prefix,
            gateway_url=self.gateway_url,
            dashboard_url="",
            key=self.key,
            clients=clients,
            progress=Progress(),
        )


def make_world(
    folder: Path,
    overlay: Mapping[str, str],
    database: str = "sqlite",
    replicas: Mapping[str, int] | None = None,
) -> World:
    """Not started yet: `world.stack.up()` does that."""
    settings = load_on_free_ports(folder, database=database, replicas=replicas)
    stack = with_overlay(LocalStack(settings), dict(overlay))
    MADE.append(stack)
    (key, tenant), *_ = settings.keys.items()
    return World(stack, stack.env(), key, tenant)


class Poster:
    """A client of the REST API that comes back until its deadline when a service is away."""

    def __init__(self, world: World, patience_s: float = 120.0) -> None:
        self._patience_s = patience_s
        self._client = httpx.AsyncClient(
            base_url=world.gateway_url,
            headers={"Authorization": f"Bearer {world.key}"},
            timeout=30.0,
            trust_env=False,
        )
        self.refused_for_a_while = 0

    async def post(self, path: str, body: dict[str, Any]) -> None:
        deadline = time.monotonic() + self._patience_s
        while True:
            response = await self._client.post(path, json=body)
            if response.status_code == httpx.codes.OK:
                return
            assert response.status_code == httpx.codes.SERVICE_UNAVAILABLE, response.text
            assert time.monotonic() < deadline, f"{path} is still away: {response.text}"
            self.refused_for_a_while += 1
            await asyncio.sleep(float(response.headers.get("Retry-After", "0.5")))

    async def close(self) -> None:
        await self._client.aclose()


async def eventually(
    what: str,
    look: Callable[[], Awaitable[tuple[bool, Any]]],
    limit_s: float,
    every_s: float = 0.3,
) -> Any:
    """What `look` found once it said yes; fails with what it saw last."""
    deadline = time.monotonic() + limit_s
    while True:
        done, found = await look()
        if done:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen in {limit_s:.0f} s: {found}"
        await asyncio.sleep(every_s)
