"""/v1/chat/completions and /v1/models."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, cast

import anyio
from fastapi import FastAPI, Request
from starlette.datastructures import Headers
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from services.gateway.app.answering import Answering, Streamed, Whole
from services.gateway.app.rollouts import RolloutCache
from services.gateway.codec.anthropic.answers import model_info, models_page
from services.gateway.http_api.admission import Admission
from services.gateway.http_api.problems import is_anthropic, problem
from services.gateway.ports import TurnQuota
from shared.language.errors import NotFound, TrimtabError
from shared.language.keys import READER, WRITER


class ClosedStream(StreamingResponse):
    """Closes its events also if the client disconnects: an aborted exchange is recorded then."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await cast(AsyncGenerator[bytes, None], self.body_iterator).aclose()


# How many turns a chat counts against the quota: the question and the answer.
CHAT_TURNS = 2


class ChatEndpoint:
    """POST /v1/chat/completions as a plain ASGI application: every user would wait for what a framework adds to
    a call."""

    path = "/v1/chat/completions"

    def __init__(self, admission: Admission, quota: TurnQuota, answering: Answering) -> None:
        self._admission, self._quota, self._answering = admission, quota, answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._answer(Request(scope, receive))
        except TrimtabError as error:
            await problem(error)(scope, receive, send)
            return
        if isinstance(answer, Streamed):
            headers = {**answer.headers, "cache-control": "no-cache"}
            stream = ClosedStream(answer.events, headers=headers, media_type="text/event-stream")
            await stream(scope, receive, send)
            return
        await send(_start(answer))
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, request: Request) -> Whole | Streamed:
        caller = self._admission.caller(request)
        self._quota.turns(caller.tenant, CHAT_TURNS)
        body = await self._admission.read_object(request)
        headers = looked_up(request.headers)
        return await self._answering.answer(body, headers, caller.tenant, caller.key_digest)


def looked_up(headers: Headers) -> dict[str, str]:
    """The headers, the first of each name. A chat asks for many that are not there, and starlette compares each
    with all of them."""
    return {
        name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(headers.raw)
    }


def _start(answer: Whole) -> Message:
    headers = {
        **answer.headers,
        "content-type": answer.content_type,
        "content-length": str(len(answer.body)),
    }
    coded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": answer.status, "headers": coded}


def add_routes(application: FastAPI, admission: Admission, rollouts: RolloutCache) -> None:
    @application.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        caller = admission.caller(request, READER, WRITER)
        names = rollouts.of(caller.tenant).names()
        if is_anthropic(request):
            return models_page(names)
        return {"object": "list", "data": [_model(name) for name in names]}

    @application.get("/v1/models/{name}")
    async def model(request: Request, name: str) -> dict[str, Any]:
        caller = admission.caller(request, READER, WRITER)
        if name not in rollouts.of(caller.tenant).names():
            raise NotFound(
                f"The model {name[:80]!r} does not exist", reason="MODEL_NOT_FOUND", field="model"
            )
        return model_info(name) if is_anthropic(request) else _model(name)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "trimtab"}
