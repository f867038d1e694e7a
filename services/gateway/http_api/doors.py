"""What every door does first: the key names the tenant, the body is read up to its limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from services.gateway.domain.chat import key_digest
from services.gateway.http_api.problems import BodyTooLarge
from shared.errors import InvalidArgument, Unauthenticated
from shared.json_text import decode


@dataclass(frozen=True, slots=True)
class Caller:
    tenant: str
    key_digest: str


class Doors:
    """`keys`: API key -> tenant. Only digests are kept: a look-up tells nothing by its time."""

    def __init__(self, keys: Mapping[str, str], max_body_bytes: int) -> None:
        self._tenants = {key_digest(key): tenant for key, tenant in keys.items()}
        self._max_body_bytes = max_body_bytes

    @property
    def max_body_bytes(self) -> int:
        return self._max_body_bytes

    def caller(self, request: Request) -> Caller:
        """Unauthenticated if the key is missing or wrong."""
        return self.identify(request.headers.get("authorization", ""))

    def identify(self, authorization: str) -> Caller:
        """The caller by an `authorization` header of whichever protocol."""
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthenticated(
                "send your API key as `Authorization: Bearer KEY`", reason="MISSING_API_KEY"
            )
        digest = key_digest(key.strip())
        if digest not in self._tenants:
            raise Unauthenticated("this API key is not known", reason="INVALID_API_KEY")
        return Caller(self._tenants[digest], digest)

    async def read_object(self, request: Request) -> dict[str, Any]:
        """The body as a JSON object. BodyTooLarge, or InvalidArgument that says where it breaks."""
        body = await self.read(request)
        try:
            document = decode(body)
        except (ValueError, RecursionError) as error:
            raise InvalidArgument(
                f"the body is not JSON: {error}", reason="MALFORMED_JSON", field="body"
            ) from error
        if not isinstance(document, dict):
            raise InvalidArgument(
                "the body must be a JSON object", reason="INVALID_BODY", field="body"
            )
        return document

    async def read(self, request: Request) -> bytes:
        """The body as it came. BodyTooLarge past the limit."""
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
