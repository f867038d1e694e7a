"""The gateway on in-memory ports: a scripted model server, a sink that remembers."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openai import AsyncOpenAI

from services.gateway.adapters.spool import FileSpool
from services.gateway.adapters.upstream import HttpUpstream
from services.gateway.app.answering import Answering
from services.gateway.app.ingesting import Ingesting
from services.gateway.app.recorder import Recorder
from services.gateway.app.rollouts import RolloutBook
from services.gateway.domain.rollout import Rollout, Version
from services.gateway.domain.turns import GivenFeedback, LoggedTurn, Refused
from services.gateway.http_api.application import Parts, build
from services.gateway.http_api.doors import Doors
from shared.errors import Unavailable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "key-a"


class MemorySink:
    """The interaction service's twin: refuses turns whose text is "refuse me"; can be away."""

    def __init__(self) -> None:
        self.turns: list[LoggedTurn] = []
        self.feedback: list[tuple[str, GivenFeedback]] = []
        self.away = False

    async def log_turns(self, turns: Sequence[LoggedTurn]) -> list[Refused]:
        if self.away:
            raise Unavailable("interaction is away", retry_after_s=3)
        refused = []
        for place, turn in enumerate(turns):
            if turn.message.text == "refuse me":
                refused.append(Refused(place, "MESSAGE_TOO_LARGE", "too large", "message"))
            else:
                self.turns.append(turn)
        return refused

    async def log_feedback(
        self, tenant: str, feedback: Sequence[GivenFeedback]
    ) -> tuple[list[str], list[Refused]]:
        if self.away:
            raise Unavailable("interaction is away", retry_after_s=3)
        self.feedback += [(tenant, one) for one in feedback]
        return [f"f{place}" for place in range(len(feedback))], []


class ModelServer(httpx.AsyncBaseTransport):
    """Says "word " * words, one word a chunk. Hosts named in `down` refuse connections."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.hosts: list[str] = []
        self.down: set[str] = set()
        self.words, self.break_after = 3, 10**9
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.hosts.append(request.url.host)
        if request.url.host in self.down:
            raise httpx.ConnectError("refused", request=request)
        body = json.loads(await request.aread())
        self.bodies.append(body)
        if body["model"] == "broken":
            problem = {"object": "error", "message": "context too long", "code": 400}
            return httpx.Response(400, json=problem)
        if body.get("stream"):
            headers = {"content-type": "text/event-stream"}
            return httpx.Response(200, headers=headers, stream=Chunks(self, body["model"]))
        message = {"role": "assistant", "content": "word " * self.words}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
        completion = {"id": f"chatcmpl-{len(self.bodies)}", "object": "chat.completion"}
        completion |= {"created": 1, "model": body["model"], "choices": [choice], "usage": usage}
        return httpx.Response(200, json=completion)


class Chunks(httpx.AsyncByteStream):
    def __init__(self, server: ModelServer, model: str) -> None:
        self._server, self._model = server, model

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._chunk({"role": "assistant", "content": ""})
        for place in range(self._server.words):
            if place == self._server.break_after:
                raise httpx.ReadError("gone")
            yield self._chunk({"content": "word "})
            await self._server.go_on.wait()
        yield self._chunk({}, "stop")
        yield b"data: [DONE]\n\n"

    async def aclose(self) -> None:
        self._server.closed += 1

    def _chunk(self, delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"id": "chatcmpl-s", "object": "chat.completion.chunk", "created": 1}
        chunk |= {"model": self._model, "choices": [choice]}
        return f"data: {json.dumps(chunk)}\n\n".encode()


class Gateway:
    """The whole application with its recorder running."""

    def __init__(self, folder: Path, replicas: tuple[str, ...] = ("http://vllm-a",)) -> None:
        self.sink, self.model = MemorySink(), ModelServer()
        self.spool = FileSpool(folder)
        self.recorder = Recorder(self.spool, self.sink)
        self.book = RolloutBook(Rollout(0, Version("assistant-v0", "base")), "default")
        self.measured: list[tuple[str, int, str]] = []
        upstream = HttpUpstream(httpx.AsyncClient(transport=self.model), replicas)
        self.application = build(
            Parts(
                doors=Doors({KEY: "local", "key-b": "other"}, 100_000),
                answering=Answering(self.book, upstream, self.recorder, lambda: NOW),
                ingesting=Ingesting(self.sink),
                recorder=self.recorder,
                book=self.book,
                meter=lambda route, status, version, _: self.measured.append(
                    (route, status, version)
                ),
                lifespan=self._lifespan,
            )
        )
        transport = httpx.ASGITransport(self.application)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://gateway")
        self.http.headers["authorization"] = f"Bearer {KEY}"
        self.openai = AsyncOpenAI(
            api_key=KEY, base_url="http://gateway/v1", http_client=self.http, max_retries=0
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        yield

    async def __aenter__(self) -> "Gateway":
        self.task = asyncio.create_task(self.recorder.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await self.http.aclose()
        self.spool.close()

    async def logged(self) -> list[LoggedTurn]:
        """What reached the sink once everything was forwarded."""
        await self.recorder.flush(5)
        assert self.recorder.pending == 0
        return self.sink.turns


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway(tmp_path / "spool") as running:
        yield running


@pytest.fixture
def start_gateway() -> Callable[..., Gateway]:
    return Gateway


async def eventually(holds: Callable[[], bool], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., Any]:
    return eventually
