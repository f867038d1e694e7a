"""Identifies callers by their API keys, within their tenants' quotas.

A key comes as a bearer token, or as the password of HTTP Basic, as the Langfuse SDK sends its secret key.
"""

from __future__ import annotations

import base64
import binascii

from services.gateway.ports import Caller
from shared.access.admission import bearer
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.language.errors import Unauthenticated
from shared.language.keys import WRITER


class KeyAuthenticator:
    """The ports Authenticator and TurnQuota, by the keys and quotas that were received last."""

    def __init__(self, book: KeyBook, quotas: Quotas) -> None:
        self._book, self._quotas = book, quotas

    def identify(self, authorization: str, *roles: str) -> Caller:
        secret = bearer(authorization) or _basic_password(authorization)
        if not secret:
            raise Unauthenticated(
                "send your API key as `Authorization: Bearer KEY`, or over HTTP as `x-api-key: KEY`",
                reason="MISSING_API_KEY",
            )
        key = self._book.find(secret)
        key.need(*(roles or (WRITER,)))
        self._quotas.request(key.tenant)
        return Caller(key.tenant, key.digest)

    def turns(self, tenant: str, count: int) -> None:
        self._quotas.turns(tenant, count)


def _basic_password(authorization: str) -> str:
    """Empty if there is none."""
    scheme, _, coded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(coded.strip(), validate=True).decode().partition(":")[2]
    except (ValueError, binascii.Error):
        return ""
