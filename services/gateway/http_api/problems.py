"""Errors as HTTP: OpenAI's error body, from the one status table."""

from __future__ import annotations

import logging
import math

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from shared.language.errors import Internal, InvalidArgument, TrimtabError, status_of

_log = logging.getLogger(__name__)
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class BodyTooLarge(InvalidArgument):
    """413, the one status that is not in the table of errors."""

    default_reason = "BODY_TOO_LARGE"


def problem(error: TrimtabError) -> JSONResponse:
    status = 413 if isinstance(error, BodyTooLarge) else status_of(error).http
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    return _response(status, error.message, error.field, error.reason.lower(), headers)


def install(application: FastAPI) -> None:
    application.add_exception_handler(TrimtabError, _on_ours)
    application.add_exception_handler(HTTPException, _on_http)
    application.add_exception_handler(Exception, _on_defect)


async def _on_ours(_: Request, error: Exception) -> JSONResponse:
    return problem(error if isinstance(error, TrimtabError) else Internal(str(error)))


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    """Unknown paths and methods."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = f"{request.method} {request.url.path[:80]}: {getattr(error, 'detail', '')}"
    return _response(status, words, "", "unknown_route", {})


async def _on_defect(request: Request, error: Exception) -> JSONResponse:
    _log.error("%s failed", request.url.path, exc_info=error)
    return problem(Internal(f"a defect in the gateway: {type(error).__name__}"))


def _response(
    status: int, message: str, param: str, code: str, headers: dict[str, str]
) -> JSONResponse:
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    body = {"message": message, "type": kind, "param": param or None, "code": code}
    return JSONResponse({"error": body}, status, headers)
