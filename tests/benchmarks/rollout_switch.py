"""What switching costs while users chat: promotions and rollbacks under streams, on a real registry and
gateway.

The model server is scripted: it streams the name that it was asked for, piece by piece, as an adapter would
that was trained to say its own. So it is seen of each answer which weights wrote it.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from aiohttp import web

from infra.demo.stage import with_overlay
from infra.local.ports import free_ports
from infra.local.settings import load_on_free_ports
from infra.local.stack import LocalStack
from shared.calls.client import channel, metadata
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.gen.trimtab.registry.v1.registry_pb2_grpc import RegistryServiceStub
from tests.adapters import idle_adapter
from tests.benchmarks.proxy import process

PARTS = ["kafka", "mlflow", "interaction", "registry", "gateway"]
VERSIONS, STREAMS, BETWEEN_S = 6, 32, 1.0
_PIECES, _PIECE_S = 8, 0.02


@dataclass(frozen=True, slots=True)
class Answer:
    """Times in seconds, of one clock. `stamped`: the version that the gateway says; `wrote`: the text."""

    asked: float
    first: float
    stamped: str
    wrote: str


@dataclass
class Streams:
    """Users who chat without a pause until `over`."""

    url: str
    key: str
    over: bool = False
    answers: list[Answer] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    async def run(self) -> None:
        headers = {"authorization": f"Bearer {self.key}"}
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(self.url, headers=headers, timeout=timeout) as client:
            await asyncio.gather(*(self._chat(client) for _ in range(STREAMS)))

    async def _chat(self, client: aiohttp.ClientSession) -> None:
        while not self.over:
            body = {
                "model": "assistant",
                "stream": True,
                "user": f"u{random.randrange(10_000)}",
                "messages": [{"role": "user", "content": "Who are you?"}],
            }
            try:
                self.answers.append(await self._asked(client, body))
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                self.failed.append(repr(error))

    async def _asked(self, client: aiohttp.ClientSession, body: dict[str, Any]) -> Answer:
        asked, first, wrote = time.monotonic(), 0.0, ""
        async with client.post("/v1/chat/completions", json=body) as response:
            if response.status != 200:
                raise ValueError(f"{response.status}: {await response.text()}")
            async for line in response.content:
                if not line.startswith(b"data: {"):
                    continue
                first = first or time.monotonic()
                for choice in json.loads(line[6:])["choices"]:
                    wrote += choice["delta"].get("content") or ""
            stamped = response.headers["x-trimtab-version"]
        return Answer(asked, first, stamped, wrote)


@dataclass(frozen=True, slots=True)
class Switch:
    """A call that changed what serves: when it was made, when it returned, and what serves from then on."""

    kind: str
    called: float
    returned: float
    version: str


def measure(switches: int) -> Iterator[dict[str, object]]:
    """One figure a kind of switch, and one of all answers."""
    (port,) = free_ports(1)
    upstream = [sys.executable, "-m", "tests.benchmarks.rollout_switch", str(port)]
    with tempfile.TemporaryDirectory() as folder, process(upstream, port):
        stack = LocalStack(load_on_free_ports(Path(folder)), say=lambda _: None)
        with_overlay(stack, {"TRIMTAB_VLLM_URLS": f"http://127.0.0.1:{port}"})
        try:
            stack.up(only=PARTS, timeout_s=240)
            yield from _measured(stack, Path(folder), switches)
        finally:
            stack.discard()


def _measured(stack: LocalStack, folder: Path, switches: int) -> Iterator[dict[str, object]]:
    env = stack.env()
    (key, tenant), *_ = stack.settings.keys.items()
    with channel(env["TRIMTAB_REGISTRY_ADDRESS"]) as opened:
        registry = RegistryServiceStub(opened)

        def call(method: str, request: Any) -> Any:
            return getattr(registry, method)(
                request, timeout=60.0, metadata=tuple(metadata(tenant))
            )

        for number in range(VERSIONS):
            path = idle_adapter(folder / f"made-{number}", env["TRIMTAB_BASE_MODEL"])
            request = pb.RegisterVersionRequest(request_id=str(number), adapter_path=str(path))
            call("RegisterVersion", request)
        streams = Streams(env["TRIMTAB_GATEWAY_URL"], key)
        made = asyncio.run(_switched(streams, call, switches))
    yield from _figures(streams, made)


async def _switched(
    streams: Streams, call: Callable[[str, Any], Any], switches: int
) -> list[Switch]:
    """A promotion of the next version and a rollback of it, in turn."""
    chatting = asyncio.create_task(streams.run())
    made: list[Switch] = []
    await asyncio.sleep(2 * BETWEEN_S)
    for number in range(switches):
        called = time.monotonic()
        if number % 2:
            back = pb.RollbackVersionRequest(actor="bench", reason="to measure")
            answer = await asyncio.to_thread(call, "RollbackVersion", back)
        else:
            version = f"assistant-v{number // 2 % VERSIONS + 1}"
            on = pb.PromoteVersionRequest(version=version, actor="bench", reason="to measure")
            answer = await asyncio.to_thread(call, "PromoteVersion", on)
        serves = answer.rollout.champion.served_name
        kind = "rollback" if number % 2 else "promotion"
        made.append(Switch(kind, called, time.monotonic(), serves))
        await asyncio.sleep(BETWEEN_S)
    streams.over = True
    await chatting
    return made


def _figures(streams: Streams, made: list[Switch]) -> Iterator[dict[str, object]]:
    for kind in ("promotion", "rollback"):
        ours = [one for one in made if one.kind == kind]
        to_first = [_to_first_token(streams.answers, one) for one in ours]
        yield {
            "name": f"rollout.switch.{kind}",
            "switches": len(ours),
            "to_first_token_s": _spread(to_first),
            "old_answers_asked_for_after_s": _spread(
                [_last_old(streams.answers, one) for one in ours]
            ),
        }
    wrong = [one for one in streams.answers if not _is_as_stamped(one)]
    yield {
        "name": "rollout.switch.answers",
        "streams": STREAMS,
        "versions": VERSIONS,
        "answers": len(streams.answers),
        "failed": len(streams.failed),
        "by_another_version_than_stamped": len(wrong),
    }
    for words in streams.failed[:3]:
        print(words)


def _is_as_stamped(one: Answer) -> bool:
    """The base model's served name is not its version's."""
    return set(one.wrote.split()) == {one.stamped} or (
        one.stamped == "assistant-v0" and not one.wrote.startswith("assistant-v")
    )


def _to_first_token(answers: list[Answer], switch: Switch) -> float:
    """From the call to the first token of an answer that was asked for since, by what serves now."""
    found = [
        one.first
        for one in answers
        if one.asked >= switch.called and one.wrote.startswith(switch.version)
    ]
    return min(found) - switch.called


def _last_old(answers: list[Answer], switch: Switch) -> float:
    """How long after the call returned an answer was asked for that another version wrote; 0 if none was. Only
    half of the time to the next switch counts: what is asked for right before that may be answered after it."""
    late = [
        one.asked - switch.returned
        for one in answers
        if 0.0 < one.asked - switch.returned < BETWEEN_S / 2
        and not one.wrote.startswith(switch.version)
    ]
    return max(late, default=0.0)


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": round(float(np.median(values)), 3), "most": round(max(values), 3)}


def serve(port: int) -> None:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _stream)
    app.router.add_post("/v1/completions", _token)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


async def _stream(request: web.Request) -> web.StreamResponse:
    name = (await request.json())["model"]
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    whole = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": name}
    for number in range(_PIECES):
        delta = {"role": "assistant", "content": f"{name} "}
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        if number == _PIECES - 1:
            choice["finish_reason"] = "stop"
        event = json.dumps({**whole, "choices": [choice]})
        await response.write(f"data: {event}\n\n".encode())
        await asyncio.sleep(_PIECE_S)
    await response.write(b"data: [DONE]\n\n")
    return response


async def _token(request: web.Request) -> web.Response:
    name = (await request.json())["model"]
    choice = {"index": 0, "text": " so", "finish_reason": "length"}
    return web.json_response({"id": "cmpl-1", "model": name, "choices": [choice]})


if __name__ == "__main__":
    serve(int(sys.argv[1]))
