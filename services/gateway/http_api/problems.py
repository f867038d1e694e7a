"""Errors as HTTP, from the one status table: OpenAI's error body, or Anthropic's for its clients."""

from __future__ import annotations

import logging
import math

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from services.gateway.codec.anthropic.errors import error_of
from shared.language.errors import Internal, InvalidArgument, TrimtabError, status_of

_log = logging.getLogger(__name__)
_ANTHROPIC = ["v1", "messages"]
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class BodyTooLarge(InvalidArgument):
    """413, the one status that is not in the table of errors."""

    default_reason = "BODY_TOO_LARGE"


def is_anthropic(request: Request) -> bool:
    """Whether the caller reads answers as Anthropic gives them."""
    return "anthropic-version" in request.headers or request.url.path.split("/")[1:3] == _ANTHROPIC


def problem(error: TrimtabError, *, anthropic: bool = False) -> JSONResponse:
    status = 413 if isinstance(error, BodyTooLarge) else status_of(error).http
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if anthropic:
        return JSONResponse(error_of(status, error.message), status, headers)
    return _response(status, error.message, error.field, error.reason.lower(), headers)


def install(application: FastAPI) -> None:
    application.add_exception_handler(TrimtabError, _on_ours)
    application.add_exception_handler(HTTPException, _on_http)
    application.add_exception_handler(Exception, _on_defect)


async def _on_ours(request: Request, error: Exception) -> JSONResponse:
    ours = error if isinstance(error, TrimtabError) else Internal(str(error))
    return problem(ours, anthropic=is_anthropic(request))


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    """Unknown paths and methods."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = f"{request.method} {request.url.path[:80]}: {getattr(error, 'detail', '')}"
    if is_anthropic(request):
        return JSONResponse(error_of(status, words), status)
    return _response(status, words, "", "unknown_route", {})


async def _on_defect(request: Request, error: Exception) -> JSONResponse:
    _log.error("%s failed", request.url.path, exc_info=error)
    defect = Internal(f"a defect in the gateway: {type(error).__name__}")
    return problem(defect, anthropic=is_anthropic(request))


def _response(
    status: int, message: str, param: str, code: str, headers: dict[str, str]
) -> JSONResponse:
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    body = {"message": message, "type": kind, "param": param or None, "code": code}
    return JSONResponse({"error": body}, status, headers)
