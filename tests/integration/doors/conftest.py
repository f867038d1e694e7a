"""The whole gateway on a real socket, for official clients, and a model server that says what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from aiohttp import web

from services.gateway.app.personas import Personas
from services.gateway.domain.stored import StoredCompletion
from shared.language.json_text import decode
from shared.language.turns import Turn
from tests.unit.gateway.conftest import KEY, Gateway
from tests.unit.gateway.model_server import ModelServer

IMAGE = "data:image/png;base64,iVBORw0KGgo="


def called(*calls: tuple[str, str, str]) -> list[dict[str, Any]]:
    """Tool calls by id, function and arguments."""
    return [
        {"id": name, "type": "function", "function": {"name": function, "arguments": arguments}}
        for name, function, arguments in calls
    ]


class ScriptedServer(ModelServer):
    """Gives the messages of `script`, one for each call; after that what ModelServer says. A message's `finish`
    is why it ended, and `met` the stop sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.script: list[dict[str, Any]] = []
        self.usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        if not self.script or body["model"] in ("broken", "busy"):
            return await super()._complete(request)
        self.bodies.append(body)
        message = {"role": "assistant", "content": None, **self.script.pop(0)}
        ending = {
            "finish_reason": message.pop("finish", "stop"),
            "stop_reason": message.pop("met", None),
        }
        whole = {
            "id": f"chatcmpl-{len(self.bodies)}",
            "created": 1_790_000_000,
            "model": body["model"],
        }
        if not body.get("stream"):
            choices = [{"index": 0, "message": message, **ending}]
            whole |= {"object": "chat.completion", "choices": choices, "usage": self.usage}
            return web.json_response(whole)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for choices, usage in _chunks(message, ending, self.usage):
            chunk = {**whole, "object": "chat.completion.chunk", "choices": choices, "usage": usage}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


def _chunks(message: dict[str, Any], ending: dict[str, Any], usage: dict[str, int]) -> list[Any]:
    """As vLLM has them: the role, the words, each call's name and then its arguments in pieces, the end, the
    usage."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning": message["reasoning"]}] if message.get("reasoning") else []
    deltas += [{"content": word} for word in (message["content"] or "").split(" ") if word]
    for place, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        named = {**call, "index": place, "function": {**function, "arguments": ""}}
        pieces = [
            function["arguments"][at : at + 4] for at in range(0, len(function["arguments"]), 4)
        ]
        deltas.append({"tool_calls": [named]})
        deltas += [
            {"tool_calls": [{"index": place, "function": {"arguments": one}}]} for one in pieces
        ]
    chunks: list[Any] = [
        ([{"index": 0, "delta": one, "finish_reason": None}], None) for one in deltas
    ]
    return [*chunks, ([{"index": 0, "delta": {}, **ending}], None), ([], usage)]


class Served:
    """A gateway, and where clients find it."""

    def __init__(self, gateway: Gateway, model: ScriptedServer, url: str) -> None:
        self.gateway, self.model, self.url, self.key = gateway, model, url, KEY
        self.http = httpx.AsyncClient(
            base_url=url, headers={"authorization": f"Bearer {KEY}"}, trust_env=False
        )

    async def logged(self) -> list[Turn]:
        return await self.gateway.logged()

    async def plain(self) -> list[Turn]:
        """What was logged, without what differs between two conversations of the same words."""
        return [replace(turn, conversation_id="") for turn in await self.logged()]


@contextlib.asynccontextmanager
async def served(folder: Path, personas: Personas | None = None) -> AsyncIterator[Served]:
    gateway, model = Gateway(folder, personas=personas), ScriptedServer()
    gateway.model = model
    async with gateway:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            config = uvicorn.Config(gateway.application, log_config=None, lifespan="off")
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve([listener]))
            here = Served(gateway, model, f"http://127.0.0.1:{listener.getsockname()[1]}")
            yield here
            await here.http.aclose()
            server.should_exit = True
            await serving


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "door") as here:
        yield here


@pytest.fixture
async def chat_door(tmp_path: Path) -> AsyncIterator[Served]:
    """A second gateway, for the same conversation over /v1/chat/completions."""
    async with served(tmp_path / "chat") as here:
        yield here


async def keep_stored(door: Served) -> None:
    """What was logged appears in interaction, each turn once, and is no longer in this gateway's memory."""
    turns = list({turn.turn_id: turn for turn in reversed(await door.logged())}.values())[::-1]
    for place, turn in enumerate(turns):
        if turn.metadata.get("openai.stored"):
            request = decode(turn.metadata["openai.request"].encode())
            usage = decode(turn.metadata["openai.usage"].encode())
            made = datetime(2026, 3, 1, 12, tzinfo=UTC)
            door.gateway.completions.stored["local", turn.completion_id] = StoredCompletion(
                turn.completion_id, turn.model_version, made, {}, request, usage, (turn,)
            )
            door.gateway.completions.turns = turns[:place]
    door.gateway.histories.forget("local", {turn.conversation_id for turn in turns})


@pytest.fixture
async def openai_client(door: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        api_key=door.key, base_url=f"{door.url}/v1", http_client=http, max_retries=0
    ) as made:
        yield made
