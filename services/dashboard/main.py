"""Wires the dashboard: `python -m services.dashboard.main`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import uvicorn
from fastapi import FastAPI
from prometheus_client import start_http_server

from services.dashboard.adapters.grpc_calls import GrpcCalls
from services.dashboard.adapters.json_peers import JsonPeers
from services.dashboard.app import Asked, Window, Windows
from services.dashboard.domain import Loop, Verdict
from services.dashboard.http_api import create_app
from services.dashboard.settings import DashboardSettings
from shared.calls.client import calling_of
from shared.calls.json_calls import PARTS
from shared.configuration.settings import CommonSettings, load
from shared.language.times import now
from shared.telemetry.setup import start_telemetry


def main() -> None:
    common, settings = load(CommonSettings), load(DashboardSettings)
    start_telemetry("dashboard", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, addr=common.host)
    app = build(common, settings)
    uvicorn.run(app, host=common.host, port=settings.port, log_level="warning")


def build(common: CommonSettings, settings: DashboardSettings) -> FastAPI:
    """The application. Channels are opened when the server's event loop starts, and closed when it ends."""
    opened: list[tuple[Windows, JsonPeers]] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        addresses = {part: str(getattr(common, f"{part}_address")) for part in PARTS}
        urls = {"gateway": common.gateway_url}
        calls = GrpcCalls(
            addresses, urls, settings.tenant, settings.peer_timeout_s, calling_of(common)
        )
        asked, peers = Asked(settings.tenant, window_s=settings.window_s), JsonPeers(calls)
        windows = Windows(lambda policy: Window(peers, replace(asked, policy=policy), now))
        opened.append((windows, peers))
        yield
        opened.clear()
        await calls.close()

    async def look(policy: str) -> Loop:
        return await opened[0][0].look(policy)

    async def judge(version: str) -> Verdict:
        return await opened[0][1].verdict(version)

    async def report(run: str) -> str:
        return await opened[0][1].report(run)

    return create_app(look, judge, report, settings.scripts, settings.refresh_s, lifespan)


if __name__ == "__main__":
    main()
