"""A scripted model server on real sockets."""

import asyncio
import json
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

PLACE = web.AppKey("place", int)
# By served name, what replicas answer that do not know it, or fail.
STATUSES = {"lost": 404, "failing": 500}


class ModelServer:
    """Model servers on real sockets, one for each replica, that share one mind: they say "word " *
    words, `n` times, one word a chunk."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        # The replicas that were asked, by place.
        self.asked: list[int] = []
        self.words, self.break_after = 3, 10**9
        self.text = "word "
        # Instead of words: a whole message; streamed, it is one chunk.
        self.says: dict[str, Any] | None = None
        self.usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.cut_off = 0
        self._servers: list[TestServer] = []

    async def start(self, replicas: int) -> tuple[str, ...]:
        for place in range(replicas):
            application = web.Application()
            application[PLACE] = place
            application.router.add_post("/v1/chat/completions", self._complete)
            application.router.add_post("/tokenize", self._tokenize)
            self._servers.append(TestServer(application))
            await self._servers[-1].start_server()
        return tuple(str(server.make_url("")).rstrip("/") for server in self._servers)

    async def stop(self, place: int | None = None) -> None:
        for server in self._servers if place is None else [self._servers[place]]:
            await server.close()

    async def _tokenize(self, request: web.Request) -> web.Response:
        """A token for each word."""
        body = json.loads(await request.read())
        self.bodies.append(body)
        words = [word for one in body["messages"] for word in str(one["content"]).split()]
        return web.json_response({"count": len(words), "max_model_len": 2048, "tokens": []})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.app[PLACE])
        body = json.loads(await request.read())
        self.bodies.append(body)
        if body["model"] == "broken":
            problem = {"object": "error", "message": "context too long", "code": 400}
            return web.json_response(problem, status=400)
        if body["model"] == "busy":
            headers = {"retry-after": "7"}
            return web.Response(status=429, text="slow down", headers=headers)
        if body["model"] in STATUSES:
            return web.json_response({"message": "no"}, status=STATUSES[body["model"]])
        if body.get("stream"):
            return await self._stream(request, body)
        await self.go_on.wait()
        choices = [
            {
                "index": number,
                "message": self.says
                or {"role": "assistant", "content": self._said(number) * self.words},
                "finish_reason": "stop",
            }
            for number in range(body.get("n") or 1)
        ]
        completion: dict[str, Any] = {
            "id": f"chatcmpl-{len(self.bodies)}",
            "object": "chat.completion",
        }
        completion |= {"created": 1, "model": body["model"], "choices": choices}
        return web.json_response({**completion, "usage": self.usage})

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self._say(response, body)
        except (ConnectionError, asyncio.CancelledError):
            self.cut_off += 1
            raise
        return response

    async def _say(self, response: web.StreamResponse, body: dict[str, Any]) -> None:
        numbers = range(body.get("n") or 1)

        async def chunk(number: int, delta: dict[str, Any], finish: str | None = None) -> None:
            choice = {"index": number, "delta": delta, "finish_reason": finish}
            await send({"choices": [choice]})

        async def send(fields: dict[str, Any]) -> None:
            whole = {"id": "chatcmpl-s", "object": "chat.completion.chunk", "created": 1}
            event = json.dumps({**whole, "model": body["model"], **fields})
            await response.write(f"data: {event}\n\n".encode())

        for number in numbers:
            await chunk(number, {"role": "assistant", "content": ""})
        if self.says:
            await chunk(0, self.says)
        for place in range(0 if self.says else self.words):
            if place == self.break_after:
                assert response._req is not None
                assert response._req.transport is not None
                response._req.transport.abort()
                return
            for number in numbers:
                await chunk(number, {"content": self._said(number)})
            while not self.go_on.is_set():
                await response.write(b": still here\n\n")
                await asyncio.sleep(0.01)
        for number in numbers:
            await chunk(number, {}, "stop")
        if (body.get("stream_options") or {}).get("include_usage"):
            await send({"choices": [], "usage": self.usage})
        await response.write(b"data: [DONE]\n\n")

    def _said(self, number: int) -> str:
        return self.text if not number else f"{self.text.strip()}{number} "
