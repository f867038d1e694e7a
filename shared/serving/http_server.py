"""An HTTP server that a process (shared.serving.process) starts and drains."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp


class HttpServer:
    """uvicorn without its signal handling: the process handles signals."""

    def __init__(
        self, application: ASGIApp, *, host: str, port: int, drain_s: float, **options: Any
    ) -> None:
        """`options` are uvicorn's."""
        self._server = _Unsignalled(
            uvicorn.Config(
                application,
                host=host,
                port=port,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=int(drain_s) + 1,
                **options,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Returns the port once it listens. Ends the process with status 1 if the port is in use, as uvicorn
        does."""
        self._serving = asyncio.create_task(self._server.serve(), name="http")
        while not self._server.started:
            await asyncio.wait({self._serving}, timeout=0.01)
            if self._serving.done():
                await self._serving
                raise RuntimeError("the HTTP server ended before it served")
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    async def drain(self) -> None:
        """Accepts no more requests and gives open responses `drain_s` to end."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving


class _Unsignalled(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
