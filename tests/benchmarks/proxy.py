"""`make bench-proxy`: what the gateway adds to a chat with its logging on, beside what LiteLLM's proxy
adds, in one run: the same model server that takes no time, the same load, on the machine at hand.

The gateway logs every exchange through interaction and Kafka to the store; the run ends with a count
of what the store holds. LiteLLM logs nothing; it stands in an environment of its own, as the other
peers do. One JSON line a figure: milliseconds added to asking the
model server directly, at p50 and p99, and the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.ports import free_ports
from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack
from shared.calls.client import aio_channel
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.common.v1.common_pb2_grpc import StageServiceStub
from tests.benchmarks import load, peers

PEER = peers.Peer("litellm", ("litellm[proxy]==1.106.*",), (), {}, "")
KEY = "local-dev-key"
# Ways of asking: streamed or not, how many at once, how many requests of the quick and of the peer.
WAYS = ((False, 1, 1000, 300), (True, 1, 500, 150), (False, 32, 6000, 1500), (True, 32, 3000, 800))
_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "DO_NOT_TRACK": "1",
    # Without a key of its own, which would only be more for it to look at.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}

Figures = dict[tuple[bool, int], tuple[float, float]]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        peer = peers.installed(PEER)
        stack = LocalStack(load_on_free_ports(Path(folder)), say=lambda _: None)
        port = stack.settings.vllm.port
        with process([sys.executable, "-m", "tests.benchmarks.upstream", str(port)], port):
            direct = measure("direct", port, "fake", quick=True)
            ours = measure_gateway(stack, direct)
            if peer is None:
                raise SystemExit("litellm: left out, its packages can not be installed")
            compare(ours, measure_peer(peer, port, Path(folder), direct))


def measure_gateway(stack: LocalStack, direct: Figures) -> Figures:
    try:
        stack.up(only=["kafka", "interaction", "gateway"], timeout_s=90)
        url = stack.env()["TRIMTAB_GATEWAY_URL"]
        port = int(url.rsplit(":", 1)[1])
        interaction = stack.env()["TRIMTAB_INTERACTION_ADDRESS"]
        # Once a first exchange is in the store, every part of the way has begun to work.
        load.run(load.Load(port, KEY, "assistant", False, 1, 1, warm_up=0))
        until_made(interaction, 2)
        figures = measure("trimtab", port, "assistant", quick=True)
        stored(url, interaction)
        return added("trimtab", figures, direct)
    finally:
        stack.down()


def measure_peer(python: Path, upstream: int, folder: Path, direct: Figures) -> Figures:
    (port,) = free_ports(1)
    config = folder / "litellm.json"  # JSON is YAML
    parameters = {"model": "openai/fake", "api_base": f"http://127.0.0.1:{upstream}/v1"}
    model = {"model_name": "assistant", "litellm_params": {**parameters, "api_key": "none"}}
    settings = {"litellm_settings": {"telemetry": False}}
    settings |= {"general_settings": {"disable_spend_logs": True}}
    config.write_text(json.dumps({"model_list": [model], **settings}))
    command = [str(python), str(python.with_name("litellm")), "--config", str(config)]
    command += ["--port", str(port)]
    command += ["--host", "127.0.0.1", "--num_workers", "1"]
    with process(command, port, _ENVIRONMENT):
        wait_for(f"http://127.0.0.1:{port}/health/liveliness")
        return added("litellm", measure("litellm", port, "assistant", quick=False), direct)


def measure(who: str, port: int, model: str, *, quick: bool) -> Figures:
    found: Figures = {}
    for streamed, at_once, many, few in WAYS:
        requests = many if quick else few
        asked = load.Load(port, KEY, model, streamed, at_once, requests, warm_up=requests // 5)
        latencies = load.run(asked)
        p50, p99 = latencies.percentiles(streamed=streamed)
        found[streamed, at_once] = (p50, p99)
        rate = round(requests / latencies.seconds)
        say(who, streamed, at_once, {"p50_ms": p50, "p99_ms": p99, "requests_per_s": rate})
    return found


def added(who: str, figures: Figures, direct: Figures) -> Figures:
    found: Figures = {}
    for (streamed, at_once), (p50, p99) in figures.items():
        base = direct[streamed, at_once]
        found[streamed, at_once] = (p50 - base[0], p99 - base[1])
        adds = {"adds_p50_ms": p50 - base[0], "adds_p99_ms": p99 - base[1]}
        say(who, streamed, at_once, adds)
    return found


def compare(ours: Figures, theirs: Figures) -> None:
    for way, (p50, p99) in ours.items():
        other = theirs[way]
        say("ratio", *way, {"p50": p50 / other[0], "p99": p99 / other[1]})


def say(who: str, streamed: bool, at_once: int, figures: dict[str, float]) -> None:
    rounded = {name: round(value, 3) for name, value in figures.items()}
    what = "first token" if streamed else "whole answer"
    print(json.dumps({"name": who, "of": what, "at_once": at_once, **rounded}), flush=True)


def stored(gateway: str, interaction: str) -> None:
    """Every exchange is in the store: a user's turn and an answer for each request."""
    expected = 2 + 2 * sum(many + many // 5 for _, _, many, _ in WAYS)
    began = time.monotonic()
    made = until_made(interaction, expected)
    with urllib.request.urlopen(f"{gateway}/v1/status") as answer:
        log = json.load(answer)["log"]
    figures = {"name": "stored", "turns": made, "expected": expected, "dropped": log["dropped"]}
    print(json.dumps({**figures, "seconds_after": round(time.monotonic() - began, 1)}), flush=True)
    if made != expected:
        raise SystemExit(f"the store has {made} of {expected} turns: {log}")


def until_made(interaction: str, turns: int) -> int:
    """How many turns the store holds: as many, or what it has after two minutes."""
    deadline = time.monotonic() + 120
    while (made := asyncio.run(_made(interaction))) < turns and time.monotonic() < deadline:
        time.sleep(0.2)
    return made


async def _made(interaction: str) -> int:
    async with aio_channel(interaction) as channel:
        answer = await StageServiceStub(channel).GetStageCounts(common.GetStageCountsRequest())
    return sum(
        one.count for one in answer.counts if (one.stage, one.outcome) == ("interaction", "made")
    )


@contextmanager
def process(command: list[str], port: int, env: dict[str, str] | None = None) -> Iterator[None]:
    """Runs until left; entered when its port is open."""
    started = subprocess.Popen(command, env=os.environ | (env or {}), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 90
        while not is_open(port):
            if started.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} does not serve on port {port}")
            time.sleep(0.1)
        yield
    finally:
        started.terminate()
        started.wait(20)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url).close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"{url} does not answer")


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    main()
