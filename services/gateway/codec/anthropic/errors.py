"""Errors in Anthropic's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.language.json_text import decode, encode

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_SERVER = 500
# Of an error that is no JSON, in characters.
_MOST_TEXT = 2000


def error_of(status: int, message: str) -> dict[str, Any]:
    other = "api_error" if status >= _SERVER else "invalid_request_error"
    kind = _TYPES.get(status, other)
    return {"type": "error", "error": {"type": kind, "message": message}}


def passed_on_error(status: int, content: bytes) -> bytes:
    """A model server's error."""
    return encode(error_of(status, _message_in(content)))


def _message_in(content: bytes) -> str:
    """Of OpenAI's body, of vLLM's older one, or the text as it is."""
    try:
        document = decode(content)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, Mapping):
        inner = document.get("error")
        said = inner if isinstance(inner, Mapping) else document
        if isinstance(said.get("message"), str):
            return str(said["message"])
    return content.decode("utf-8", "replace")[:_MOST_TEXT]
