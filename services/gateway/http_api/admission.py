"""What every route does first: the key names the tenant, the body is read up to its limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Request

from services.gateway.http_api.problems import BodyTooLarge
from services.gateway.ports import Authenticator, Caller
from shared.language.errors import InvalidArgument
from shared.language.json_text import decode, decode_batch

# The bracket that opens an item: the body is an object with a list of them.
_ITEMS = 3


class Admission:
    """Admits requests by their key, and up to a size."""

    def __init__(self, authenticator: Authenticator, max_body_bytes: int) -> None:
        self._authenticator, self._max_body_bytes = authenticator, max_body_bytes

    @property
    def max_body_bytes(self) -> int:
        return self._max_body_bytes

    def caller(self, request: Request, *roles: str) -> Caller:
        """As Authenticator.identify. Anthropic's clients send the key as `x-api-key`."""
        said = request.headers.get("authorization", "")
        if not said and (key := request.headers.get("x-api-key")):
            said = f"Bearer {key}"
        return self._authenticator.identify(said, *roles)

    async def read_object(self, request: Request) -> dict[str, Any]:
        """The body as a JSON object. BodyTooLarge, or InvalidArgument that says where the error is."""
        return _object(await self.read(request), decode)

    async def read_batch(self, request: Request) -> dict[str, Any]:
        """As `read_object`, for a body with a list of items: what is wrong with one is left to its reader."""
        return _object(await self.read(request), lambda body: decode_batch(body, _ITEMS))

    async def read_items(self, request: Request) -> dict[str, Any] | list[Any]:
        """An object, or a list of items: what is wrong with one is left to its reader."""
        body = await self.read(request)
        if body.lstrip()[:1] == b"[":
            return list(_decoded(body, lambda text: decode_batch(text, _ITEMS - 1)))
        return _object(body, decode)

    async def read(self, request: Request) -> bytes:
        """The body as it came. BodyTooLarge beyond the limit."""
        said = request.headers.get("content-length", "")
        if said.isdigit() and int(said) > self._max_body_bytes:
            raise self._too_large()
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_body_bytes:
                raise self._too_large()
        return bytes(body)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the body has more than {self._max_body_bytes} bytes", field="body")


def _decoded(body: bytes, read: Callable[[bytes], Any]) -> Any:
    try:
        return read(body)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"the body is not JSON: {error}", reason="MALFORMED_JSON", field="body"
        ) from error


def _object(body: bytes, read: Callable[[bytes], Any]) -> dict[str, Any]:
    document = _decoded(body, read)
    if not isinstance(document, dict):
        raise InvalidArgument("the body must be a JSON object", reason="INVALID_BODY", field="body")
    return document
