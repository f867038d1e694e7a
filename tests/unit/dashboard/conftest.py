"""The page over in-memory peers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from services.dashboard.adapters.json_peers import JsonPeers
from services.dashboard.app import Asked, Window, Windows
from services.dashboard.http_api import create_app
from tests.unit.dashboard.twin_calls import TwinCalls

Open = Callable[..., httpx.AsyncClient]


@pytest.fixture
def open_page(tmp_path: Path) -> Open:
    def open_(calls: TwinCalls, scripts: bool = True) -> httpx.AsyncClient:
        if scripts:
            for path in ("htmx.org/dist/htmx.min.js", "echarts/dist/echarts.min.js"):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_text("var script;")
        now = datetime(2026, 11, 20, 12, 40, tzinfo=UTC)
        windows = Windows(
            lambda policy: Window(JsonPeers(calls), Asked("local", policy), lambda: now)
        )
        peers = JsonPeers(calls)
        app = create_app(windows.look, peers.verdict, peers.report, tmp_path, refresh_s=2)
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page")

    return open_
