"""Watches over connections whose other end has gone silent: noticed within 30 s, and begun anew."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from infra.local.ports import free_ports
from services.gateway.adapters.rollouts import RolloutFile, RolloutFollower
from services.gateway.app.rollouts import RolloutCache
from services.gateway.domain.rollout import Rollout, Version
from shared.access.key_book import KeyBook
from shared.calls.client import Calling, aio_channel, metadata
from shared.calls.server import RpcServer
from shared.gen.trimtab.interaction.v1 import keys_pb2, keys_pb2_grpc
from shared.language.policies import PolicyKey
from shared.language.times import now
from shared.serving.key_follower import KeyFile, KeyFollower

NOTICED_S = 30.0


class Wire:
    """Passes bytes on in both directions; cut, it passes nothing more and closes nothing, as a host that
    vanished."""

    def __init__(self, port: int) -> None:
        self._port, self._flows = port, asyncio.Event()
        self._flows.set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            for task in self._tasks:
                task.cancel()
            server.close()

    def cut(self) -> None:
        self._flows.clear()

    def mend(self) -> None:
        self._flows.set()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self._port)
        for source, sink in ((reader, there[1]), (there[0], writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await source.read(65_536):
                await self._flows.wait()
                sink.write(piece)
        sink.close()


class Watch:
    """A gateway's two watches."""

    def __init__(self, address: str, folder: Path) -> None:
        self.rollouts = RolloutCache(Rollout(0, Version("assistant-v0", "base")))
        self.book = KeyBook(now)
        file = KeyFile(folder / "keys.json")
        self.keys = KeyFollower(address, Calling(), self.book, file)
        self._address, self._file = address, RolloutFile(folder / "rollout.json")

    async def run(self) -> None:
        async with aio_channel(self._address) as channel:
            follower = RolloutFollower(channel, self.rollouts, self._file)
            await asyncio.gather(follower.run(), self.keys.run())

    def heard(self, revision: int) -> bool:
        quota = self.book.quotas.get("local")
        keys = quota is not None and quota.requests_per_s == revision
        served = self.rollouts.served.get(PolicyKey("local"))
        rollout = served.rollout if served else None
        return keys and rollout is not None and rollout.revision == revision

    @property
    def connected(self) -> tuple[bool, bool]:
        return self.rollouts.connected, self.keys.connected


async def until(holds: Callable[[], bool], within_s: float) -> float:
    """How long it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within_s, "it did not come true in time"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


@contextmanager
def watched(port: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).with_name("watched.py")), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serves\n"
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


async def goes_silent_and_comes_back(folder: Path, *, stopped: bool, at_rest_s: float) -> float:
    """How long it took to be noticed. `at_rest_s`: how long nothing was said before."""
    (port,) = free_ports(1)
    wire = Wire(port)
    with watched(port) as process:
        async with wire.opened() as entrance:
            watch = Watch(f"127.0.0.1:{entrance}", folder)
            running = asyncio.create_task(watch.run())
            await until(lambda: watch.heard(1), 15)
            assert watch.connected == (True, True)
            await asyncio.sleep(at_rest_s)
            if stopped:
                process.send_signal(signal.SIGSTOP)
            else:
                wire.cut()
            noticed_s = await until(lambda: watch.connected == (False, False), NOTICED_S)
            assert watch.heard(1)  # what was known goes on
            if stopped:
                process.send_signal(signal.SIGCONT)
            else:
                wire.mend()
            process.send_signal(signal.SIGUSR1)
            await until(lambda: watch.heard(2), NOTICED_S)
            assert watch.connected == (True, True)
            running.cancel()
            return noticed_s


@pytest.mark.slow
async def test_a_peer_that_goes_silent_is_noticed_and_heard_again(tmp_path: Path) -> None:
    """Stopped and cut off, each right after a word (a ping is on its way then) and at rest."""
    cases = [(stopped, at_rest_s) for stopped in (True, False) for at_rest_s in (0.0, 2.0)]
    noticed = await asyncio.gather(
        *(
            goes_silent_and_comes_back(tmp_path / str(number), stopped=stopped, at_rest_s=at_rest_s)
            for number, (stopped, at_rest_s) in enumerate(cases)
        )
    )
    assert max(noticed) < NOTICED_S
    assert min(noticed) > 5  # not because the peer said so


class Counting(keys_pb2_grpc.KeyServiceServicer):
    """How many watch it."""

    watching = 0

    async def WatchKeys(
        self, request: keys_pb2.WatchKeysRequest, context: Any
    ) -> AsyncIterator[keys_pb2.WatchKeysResponse]:
        self.watching += 1
        try:
            yield keys_pb2.WatchKeysResponse()
            await asyncio.Event().wait()
        finally:
            self.watching -= 1


@pytest.mark.slow
async def test_a_service_lets_go_of_a_watcher_that_vanished() -> None:
    """Without a word from the watcher: it sends no pings of its own."""
    counting = Counting()  # type: ignore[abstract]
    add = partial(keys_pb2_grpc.add_KeyServiceServicer_to_server, counting)
    server = RpcServer("watched", [("trimtab.interaction.v1.KeyService", add)], drain_s=0.1)
    wire = Wire(await server.start())
    async with wire.opened() as entrance, grpc.aio.insecure_channel(f"127.0.0.1:{entrance}") as to:
        watch = keys_pb2_grpc.KeyServiceStub(to).WatchKeys(
            keys_pb2.WatchKeysRequest(), metadata=metadata()
        )
        try:
            assert await watch.read() == keys_pb2.WatchKeysResponse()
            wire.cut()
            assert await until(lambda: counting.watching == 0, NOTICED_S) > 5
        finally:
            wire.mend()
            watch.cancel()
            await server.drain()
