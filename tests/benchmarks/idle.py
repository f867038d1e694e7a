"""`make bench-idle`: what the stack costs while nobody uses it. One JSON line a figure.

idle.cpu.PART, idle.cpu   per cent of one core over --seconds, all of a part's processes together; the sum
idle.pss.PART, idle.pss   MB of memory at the end of them; what processes share counts once (PSS)
idle.rest.cpu, .pss       the sums without vLLM and MLflow

The stack is a separate one on free ports, with every part but vLLM (--with-vllm: that, too). Before it
rests it has taken in a small feed, so that what loads on first use is loaded: follow-ups are judged, a
reward model is trained and answers are scored (--unused leaves that out). In place of vLLM a stand-in in
this process answers, so that no job is left waiting for it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import psutil

from infra.local.stack import LocalStack
from shared.gen.trimtab.common.v1 import common_pb2
from tests.e2e import feed
from tests.e2e.policy_server import PolicyServer
from tests.e2e.world import Poster, World, eventually, make_world

SUPERVISOR = "supervisor"
REAL_PARTS = ("vllm", "mlflow")
FED_WITHIN_S = 300.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0, help="how long is measured")
    parser.add_argument("--settle-s", type=float, default=20.0, help="rest before that")
    parser.add_argument("--with-vllm", action="store_true")
    parser.add_argument("--unused", action="store_true", help="measure without feeding it first")
    given = parser.parse_args()
    with running(with_vllm=given.with_vllm) as world:
        if not given.unused:
            asyncio.run(fed(world))
        time.sleep(given.settle_s)
        measure(world.stack, given.seconds)


@contextmanager
def running(*, with_vllm: bool) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder, PolicyServer() as stand_in:
        overlay = {} if with_vllm else {"TRIMTAB_VLLM_URLS": stand_in.url}
        world = make_world(Path(folder), overlay)
        parts = [name for name in world.stack.programs if with_vllm or name != "vllm"]
        try:
            with redirect_stdout(sys.stderr):
                world.stack.up(only=parts)
            yield world
        finally:
            world.stack.down()


async def fed(world: World) -> None:
    """Returns once every conversation was judged and every answer that can be scored was."""
    poster, clients = Poster(world), world.clients()
    try:
        numbers = range(feed.CONVERSATIONS)
        await poster.post(
            "/v1/conversations", {"conversations": list(map(feed.conversation, numbers))}
        )
        await poster.post("/v1/feedback", {"feedback": [rating(number) for number in numbers]})
        await eventually("the feed's way through the loop", Fed(clients), FED_WITHIN_S, every_s=1.0)
    finally:
        await poster.close()
        await clients.close()


class Fed:
    """Whether feedback has judged the feed's follow-ups, and reward has scored its answers."""

    def __init__(self, clients: Any) -> None:
        self._clients = clients

    async def __call__(self) -> tuple[bool, dict[str, int]]:
        judged = await self._count("feedback", "taken", "feedback.turns")
        scored = await self._count("reward", "made", "reward.answers", "scored")
        unscored = await self._count("reward", "waiting", "reward.answers")
        pending = await self._count("feedback", "waiting")
        seen = {"taken": judged, "scored": scored, "unscored": unscored, "pending": pending}
        return judged == feed.TURNS and scored > 0 and not unscored and not pending, seen

    async def _count(self, service: str, outcome: str, stage: str = "", reason: str = "") -> int:
        answer = await self._clients.ask(
            self._clients.stages[service].GetStageCounts, common_pb2.GetStageCountsRequest()
        )
        found = (
            one.count
            for one in answer.counts
            if one.outcome == outcome and stage in ("", one.stage) and reason in ("", one.reason)
        )
        return sum(found)


def rating(number: int) -> dict[str, Any]:
    """For every conversation, so that there is enough to train a reward model on."""
    said = {"completion_id": f"c{number}-1", "user": f"u{number % feed.USERS}"}
    return said | {"value": float(number % 5 + 1), "min": 1, "max": 5}


def measure(stack: LocalStack, seconds: float) -> None:
    before, began = cpu_s(stack), time.monotonic()
    time.sleep(seconds)
    after, took_s = cpu_s(stack), time.monotonic() - began
    shares = {part: 100 * (used - before.get(part, 0.0)) / took_s for part, used in after.items()}
    tell("cpu", shares, "% of one core")
    tell("pss", pss_mb(stack), "MB")


def tell(what: str, of_parts: Mapping[str, float], unit: str) -> None:
    figures = {f"idle.{what}.{part}": value for part, value in of_parts.items()}
    figures[f"idle.{what}"] = sum(of_parts.values())
    rest = (value for part, value in of_parts.items() if part not in REAL_PARTS)
    figures[f"idle.rest.{what}"] = sum(rest)
    for name, value in figures.items():
        print(json.dumps({"name": name, "value": round(value, 2), "unit": unit}), flush=True)


def cpu_s(stack: LocalStack) -> dict[str, float]:
    """What each part's processes have used of the cores, children that have ended included."""
    used: dict[str, float] = defaultdict(float)
    for part, process in processes(stack):
        times = process.cpu_times()
        used[part] += times.user + times.system
        if part != SUPERVISOR:
            used[part] += times.children_user + times.children_system
    return dict(used)


def pss_mb(stack: LocalStack) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for part, process in processes(stack):
        found[part] += process.memory_full_info().pss / 2**20
    return dict(found)


def processes(stack: LocalStack) -> Iterator[tuple[str, psutil.Process]]:
    """Every process of the stack that runs, with the part that it belongs to."""
    pids = {part: stack.pid(part) for part in stack.programs}
    parents = {part: psutil.Process(pid) for part, pid in pids.items() if pid}
    supervisor = next(iter(parents.values())).parent()
    if supervisor is not None:
        yield SUPERVISOR, supervisor
    for part, parent in parents.items():
        for process in (parent, *parent.children(recursive=True)):
            yield part, process


if __name__ == "__main__":
    main()
