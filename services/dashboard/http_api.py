"""The page over HTTP: as a whole, by fragment, and as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from fastapi.templating import Jinja2Templates
from starlette.middleware.gzip import GZipMiddleware

from services.dashboard.domain import VERDICTS, Loop, Verdict
from shared.language.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    TrimtabError,
    Unavailable,
)

HERE = Path(__file__).parent
_STATUSES: dict[type[TrimtabError], int] = {
    InvalidArgument: 400,
    NotFound: 404,
    Unavailable: 503,
    DeadlineExceeded: 504,
}
FRAGMENTS = ("loop", "serving", "course", "runs", "alarms", "personas")
# The files of npm packages that are served, from our own origin.
SCRIPTS = {"htmx.js": "htmx.org/dist/htmx.min.js", "echarts.js": "echarts/dist/echarts.min.js"}
OWN = {"page.js": "text/javascript", "page.css": "text/css"}

# At one policy, or at all of them ("").
Look = Callable[[str], Awaitable[Loop]]
# Of a version.
Judge = Callable[[str], Awaitable[Verdict]]
# Of a run, as a page.
Report = Callable[[str], Awaitable[str]]
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    look: Look,
    judge: Judge,
    report: Report,
    node_modules: Path,
    refresh_s: int,
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """The application; it keeps no state."""
    app = FastAPI(title="Trimtab dashboard", lifespan=lifespan, openapi_url=None)
    app.add_middleware(GZipMiddleware)
    templates = Jinja2Templates(HERE / "templates")
    templates.env.trim_blocks = templates.env.lstrip_blocks = True
    templates.env.filters.update(when=when, percent=percent, number=number, figure=figure)
    scripts = {
        name: node_modules / path
        for name, path in SCRIPTS.items()
        if (node_modules / path).is_file()
    }
    _mount_page(app, look, templates, {"scripts": sorted(scripts), "refresh_s": refresh_s})
    _mount_files(app, scripts)
    _mount_verdicts(app, judge)
    _mount_reports(app, report)
    for kind, status in _STATUSES.items():
        app.add_exception_handler(kind, partial(_refused, status=status))
    return app


async def _refused(_: Request, error: Exception, *, status: int) -> Response:
    return JSONResponse({"error": str(error)}, status)


def _mount_verdicts(app: FastAPI, judge: Judge) -> None:
    """For tools that move models by themselves."""

    @app.get("/api/versions/{version}/verdict")
    async def verdict(version: str) -> Response:
        return JSONResponse(asdict(await judge(version)))

    @app.api_route("/api/versions/{version}/is/{wanted}", methods=["GET", "POST"])
    async def is_so(version: str, wanted: str) -> Response:
        if wanted not in VERDICTS:
            words = f"{wanted!r} is no verdict; choose from: {', '.join(VERDICTS)}"
            return JSONResponse({"error": words}, 404)
        found = await judge(version)
        return JSONResponse(asdict(found), 200 if found.verdict == wanted else 412)


def _mount_reports(app: FastAPI, report: Report) -> None:
    @app.get("/runs/{run}/report")
    async def page(run: str) -> Response:
        return HTMLResponse(await report(run))


def _mount_page(
    app: FastAPI,
    look: Look,
    templates: Jinja2Templates,
    setup: dict[str, Any],
) -> None:
    @app.get("/")
    async def page(request: Request, policy: str = "") -> Response:
        context = {"now": await look(policy), "fragments": FRAGMENTS, **setup}
        return templates.TemplateResponse(request, "page.html", context)

    @app.get("/fragments/{name}")
    async def fragment(request: Request, name: str, policy: str = "") -> Response:
        if name not in FRAGMENTS:
            known = ", ".join(FRAGMENTS)
            return JSONResponse(
                {"error": f"there is no fragment {name!r}; choose from: {known}"}, 404
            )
        return templates.TemplateResponse(
            request, f"fragments/{name}.html", {"now": await look(policy), **setup}
        )

    @app.get("/api/loop.json")
    async def twin(policy: str = "") -> Response:
        return JSONResponse(asdict(await look(policy)))

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}


def _mount_files(app: FastAPI, scripts: dict[str, Path]) -> None:
    def missing(name: str) -> Response:
        return JSONResponse({"error": f"there is no file {name!r}"}, 404)

    @app.get("/scripts/{name}")
    async def script(name: str) -> Response:
        if name not in scripts:
            return missing(name)
        headers = {"cache-control": "max-age=86400"}
        return FileResponse(scripts[name], media_type="text/javascript", headers=headers)

    @app.get("/static/{name}")
    async def own(name: str) -> Response:
        if name not in OWN:
            return missing(name)
        return FileResponse(HERE / "static" / name, media_type=OWN[name])


def when(stamp: str) -> str:
    """An RFC 3339 time as people read it, such as 14:05:09."""
    if not stamp:
        return "-"
    return datetime.fromisoformat(stamp).strftime("%H:%M:%S")


def percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def figure(value: float, stream: str) -> str:
    """The mean of a stream, in the stream's unit."""
    return percent(value) if stream == "dissatisfaction" else number(value)


def number(value: float) -> str:
    """Three significant digits; whole numbers with thousands separators."""
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.3g}"
