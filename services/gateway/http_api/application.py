"""The HTTP application: routes, errors, and around each request a span and the meter."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.app.answering import Answering
from services.gateway.app.counting import TokenCounting
from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.app.histories import Histories
from services.gateway.app.ingesting import Ingesting
from services.gateway.app.langfuse_scores import LangfuseScores
from services.gateway.app.recorder import Recorder
from services.gateway.app.rollouts import RolloutCache
from services.gateway.http_api import (
    chat,
    completions,
    ingest,
    langfuse,
    lineage,
    messages,
    otlp,
    problems,
    responses,
)
from services.gateway.http_api.admission import Admission
from services.gateway.http_api.cors import opened_to
from services.gateway.http_api.doors import Chats
from services.gateway.ports import StoredCompletions, TurnQuota
from shared.telemetry.spans import call_span

# route, status, version, seconds
Meter = Callable[[str, int, str, float], None]
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


@dataclass(frozen=True)
class UseCases:
    """What the routes call; main wires it."""

    admission: Admission
    quota: TurnQuota
    answering: Answering
    counting: TokenCounting
    completions: StoredCompletions
    histories: Histories
    ingesting: Ingesting
    telemetry: CustomerTelemetry
    scores: LangfuseScores
    recorder: Recorder
    rollouts: RolloutCache
    keys_connected: Callable[[], bool]
    meter: Meter
    lifespan: Lifespan


def build(use_cases: UseCases, cors_origins: Sequence[str] = ()) -> ASGIApp:
    """`cors_origins`: whose pages may call it from a browser."""
    application = FastAPI(
        title="Trimtab gateway", lifespan=use_cases.lifespan, redirect_slashes=False
    )
    doors = Chats(use_cases.admission, use_cases.quota, use_cases.answering)
    messages.add_routes(application, doors, use_cases.counting)
    responses.add_routes(application, doors, use_cases.histories, use_cases.completions)
    chat.add_routes(application, use_cases.admission, use_cases.rollouts)
    completions.add_routes(application, use_cases.admission, use_cases.completions)
    ingest.add_routes(application, use_cases.admission, use_cases.ingesting)
    otlp.add_routes(application, use_cases.admission, use_cases.telemetry)
    langfuse.add_routes(application, use_cases.admission, use_cases.scores)
    lineage.add_routes(application, use_cases.admission, use_cases.recorder)
    problems.install(application)
    chats = chat.ChatEndpoint(use_cases.admission, use_cases.quota, use_cases.answering)
    application.add_middleware(Measured, meter=use_cases.meter, chats=chats)

    @application.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Chats are answered whether or not they can be logged: `logging` says how that is."""
        return {"status": "ok", "logging": use_cases.recorder.words()}

    @application.get("/v1/status")
    async def status() -> dict[str, object]:
        """How much is served, and what waits to be logged. No tenant's data, so no key is needed."""
        return {
            "rollout": use_cases.rollouts.status(),
            "keys": {"connected": use_cases.keys_connected()},
            "log": use_cases.recorder.status(),
        }

    return opened_to(application, cors_origins)


class Measured:
    """Measures a request up to its last byte, and passes chats on without a router in between. The label and
    the span's name are the route's template, never the path, which callers choose."""

    def __init__(self, app: ASGIApp, meter: Meter, chats: chat.ChatEndpoint) -> None:
        self._app, self._meter, self._chats = app, meter, chats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_chat = scope["path"] == self._chats.path and scope["method"] == "POST"
        began, status, version = time.monotonic(), 500, ""

        async def watched(message: Message) -> None:
            nonlocal status, version
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = dict(message["headers"])
                version = headers.get(b"x-trimtab-version", b"").decode()
            await send(message)

        carried = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        method, route = _method(scope["method"]), "unknown"
        try:
            with call_span(method, carried) as span:
                try:
                    await (self._chats if is_chat else self._app)(scope, receive, watched)
                finally:
                    route = self._chats.path if is_chat else _template(scope)
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)
        finally:
            self._meter(route, status, version, time.monotonic() - began)


def _method(said: str) -> str:
    return said if said in _METHODS else "HTTP"


def _template(scope: Scope) -> str:
    """As the router found it."""
    return str(getattr(scope.get("route"), "path_format", "unknown"))
