"""/v1/chat/completions and /v1/models."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, cast

import anyio
from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.gateway.app.answering import Answering, Streamed
from services.gateway.app.rollouts import RolloutBook
from services.gateway.domain.rollout import ALIAS
from services.gateway.http_api.doors import Doors
from shared.errors import NotFound


class ClosedStream(StreamingResponse):
    """Closes its events when the client goes, too: that is when an aborted exchange is recorded."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await cast(AsyncGenerator[bytes, None], self.body_iterator).aclose()


def routes(doors: Doors, answering: Answering, book: RolloutBook) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        caller = doors.caller(request)
        body = await doors.read_object(request)
        answer = await answering.answer(body, request.headers, caller.tenant, caller.key_digest)
        if isinstance(answer, Streamed):
            headers = {**answer.headers, "cache-control": "no-cache"}
            return ClosedStream(answer.events, headers=headers, media_type="text/event-stream")
        return Response(
            answer.body,
            answer.status,
            dict(answer.headers),
            media_type=answer.content_type,
        )

    @router.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        doors.caller(request)
        return {"object": "list", "data": [_model(name) for name in _names(book)]}

    @router.get("/v1/models/{name}")
    async def model(request: Request, name: str) -> dict[str, Any]:
        doors.caller(request)
        if name not in _names(book):
            raise NotFound(
                f"The model {name[:80]!r} does not exist", reason="MODEL_NOT_FOUND", field="model"
            )
        return _model(name)

    return router


def _names(book: RolloutBook) -> list[str]:
    return [ALIAS, *(version.name for version in book.current.versions())]


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "trimtab"}
