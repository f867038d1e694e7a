"""What every door does first: the key names the tenant, the body is read up to its limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request

from services.gateway.http_api.problems import BodyTooLarge
from shared.access.admission import bearer
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.language.errors import InvalidArgument, Unauthenticated
from shared.language.json_text import decode
from shared.language.keys import WRITER


@dataclass(frozen=True, slots=True)
class Caller:
    tenant: str
    key_digest: str


class Doors:
    """Keys by `book`; `quotas` bound what a tenant asks."""

    def __init__(self, book: KeyBook, quotas: Quotas, max_body_bytes: int) -> None:
        self._book, self._quotas, self._max_body_bytes = book, quotas, max_body_bytes

    @property
    def max_body_bytes(self) -> int:
        return self._max_body_bytes

    def caller(self, request: Request, *roles: str) -> Caller:
        """Unauthenticated if the key is missing or wrong; PermissionDenied if it has none of `roles`
        (by default: writer); ResourceExhausted past the tenant's quota of requests."""
        return self.identify(request.headers.get("authorization", ""), *roles)

    def identify(self, authorization: str, *roles: str) -> Caller:
        """The caller by an `authorization` header of whichever protocol."""
        secret = bearer(authorization)
        if not secret:
            raise Unauthenticated(
                "send your API key as `Authorization: Bearer KEY`", reason="MISSING_API_KEY"
            )
        key = self._book.find(secret)
        key.need(*(roles or (WRITER,)))
        self._quotas.request(key.tenant)
        return Caller(key.tenant, key.digest)

    def charge_turns(self, caller: Caller, count: int) -> None:
        """ResourceExhausted if the tenant may not log as many now."""
        self._quotas.turns(caller.tenant, count)

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
