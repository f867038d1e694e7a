"""A model server on a port that does as its last message says, for tests of the proxy.

No two answers are the same: each is numbered. "call a tool" calls one, "refuse" is a 422, "be slow"
goes on streaming until its client goes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from aiohttp import web

REFUSAL = {"object": "error", "message": "the context is too long", "code": 422}
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
_CALL = {
    "id": "call-1",
    "type": "function",
    "function": {"name": "add", "arguments": '{"a": 2, "b": 2}'},
}


class ChatServer:
    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.cut_off = asyncio.Event()
        self._numbers = count(1)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.bodies.append(body)
        said = body["messages"][-1]["content"]
        if said == "refuse":
            return web.json_response(REFUSAL, status=422, headers={"retry-after": "9"})
        whole = {"id": f"chatcmpl-{next(self._numbers)}", "created": 1, "model": body["model"]}
        if said == "call a tool":
            message = {"role": "assistant", "content": None, "tool_calls": [_CALL]}
            choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
            return self._whole(whole, choices)
        texts = [f"answer {next(self._numbers)}" for _ in range(body.get("n") or 1)]
        if body.get("stream"):
            return await self._stream(request, whole, texts, body, endless=said == "be slow")
        choices = [
            {
                "index": number,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
            for number, text in enumerate(texts)
        ]
        return self._whole(whole, choices)

    def _whole(self, whole: dict[str, Any], choices: list[dict[str, Any]]) -> web.Response:
        kind = {"object": "chat.completion", "usage": USAGE}
        return web.json_response({**whole, **kind, "choices": choices})

    async def _stream(
        self,
        request: web.Request,
        whole: dict[str, Any],
        texts: list[str],
        body: dict[str, Any],
        *,
        endless: bool,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)

        async def send(fields: dict[str, Any]) -> None:
            event = {**whole, "object": "chat.completion.chunk", **fields}
            await response.write(f"data: {json.dumps(event)}\n\n".encode())

        def choice(number: int, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
            return {"choices": [{"index": number, "delta": delta, "finish_reason": finish}]}

        try:
            while endless:
                await send(choice(0, {"role": "assistant", "content": "slow "}, None))
                await asyncio.sleep(0.05)
            for number, text in enumerate(texts):
                for word in text.split(" "):
                    await send(choice(number, {"content": f"{word} "}, None))
                await send(choice(number, {}, "stop"))
            if (body.get("stream_options") or {}).get("include_usage"):
                await send({"choices": [], "usage": USAGE})
            await response.write(b"data: [DONE]\n\n")
        except (ConnectionError, asyncio.CancelledError):
            self.cut_off.set()
            raise
        return response


@asynccontextmanager
async def serving(port: int) -> AsyncIterator[ChatServer]:
    server = ChatServer()
    application = web.Application()
    application.router.add_post("/v1/chat/completions", server.complete)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield server
    await runner.cleanup()
