"""Who may call what over gRPC: by a key, or as a part of the house.

Closed (TRIMTAB_REQUIRE_KEYS): a call needs `authorization: Bearer KEY` with a role that fits its
method, and its tenant is the key's. Parts of the house say so by TRIMTAB_INTERNAL_TOKEN or by a
client certificate, and name the tenant themselves. A call with both is judged by its key.

Open (the local stack): whoever reaches the port is trusted, and keys are not looked at.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from shared.access.headers import INTERNAL
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.language.errors import PermissionDenied, Unauthenticated
from shared.language.keys import ADMIN, OPERATOR, READER, WRITER, LiveKey

_HOUSE = "house"
# By the beginning of a method's name; what is not named here is for admins.
_VERBS = {
    READER: "Get List Export Trace Watch Wait Preview Search Score Classify".split(),
    WRITER: "Log Stream Update CorrectPersona FreezePersona UnfreezePersona DeletePersona".split(),
    OPERATOR: "Start Cancel Promote Rollback Reject Register Train Evaluate".split(),
}
# Over all tenants: for parts of the house and whoever runs it, never for one tenant's key.
_ACROSS_TENANTS = frozenset({"WatchKeys", "ReportUses", "ReplayDeadLetters", "ListOperations"})
_ADMINS_SERVICES = frozenset({"KeyService", "UserDataService"})


@dataclass(frozen=True, slots=True)
class Admitted:
    """A caller with a key."""

    key: LiveKey
    quotas: Quotas


# Who called; None for parts of the house.
_CALLER: ContextVar[Admitted | None] = ContextVar("trimtab_caller", default=None)


class Access(Protocol):
    def admit(self, method: str, metadata: Mapping[str, str], certified: bool) -> Admitted | None:
        """Who calls `method` ("/package.Service/Method"); None for a part of the house.
        Unauthenticated, PermissionDenied, or ResourceExhausted past the tenant's quota."""


class OpenAccess:
    """Everybody is a part of the house."""

    def admit(self, method: str, metadata: Mapping[str, str], certified: bool) -> Admitted | None:
        return None


class KeyedAccess:
    """`tenant`: the one whose keys are of use here, where a service serves a single tenant."""

    def __init__(self, book: KeyBook, quotas: Quotas, token: str = "", tenant: str = "") -> None:
        self._book, self._quotas, self._token, self._tenant = book, quotas, token, tenant

    def admit(self, method: str, metadata: Mapping[str, str], certified: bool) -> Admitted | None:
        secret = bearer(metadata.get("authorization", ""))
        if not secret:
            if certified or self._is_house(metadata.get(INTERNAL, "")):
                return None
            raise Unauthenticated(
                "send your API key as `authorization: Bearer KEY`", reason="MISSING_API_KEY"
            )
        key = self._book.find(secret)
        role = role_for(method)
        if role == _HOUSE or (self._tenant and key.tenant != self._tenant):
            raise PermissionDenied(
                f"{method} is not for the keys of tenant {key.tenant!r}", reason="NOT_FOR_KEYS"
            )
        key.need(role)
        self._quotas.request(key.tenant)
        return Admitted(key, self._quotas)

    def _is_house(self, token: str) -> bool:
        return bool(self._token) and hmac.compare_digest(token.encode(), self._token.encode())


def role_for(method: str) -> str:
    """The role that "/package.Service/Method" needs; `_HOUSE` if no key may call it."""
    service, _, name = method.removeprefix("/").rpartition("/")
    if name in _ACROSS_TENANTS:
        return _HOUSE
    if service.rsplit(".", 1)[-1] in _ADMINS_SERVICES and not name.startswith("Export"):
        return ADMIN
    for role, verbs in _VERBS.items():
        if name.startswith(tuple(verbs)):
            return role
    return ADMIN


def bearer(authorization: str) -> str:
    """The key of an `Authorization` header; empty if there is none."""
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def calling_key() -> LiveKey | None:
    """The key behind the call that is being served; None for a part of the house."""
    caller = _CALLER.get()
    return None if caller is None else caller.key


def charge_turns(count: int) -> None:
    """ResourceExhausted if the caller's tenant may not send as many now. The house's doors have
    charged for what they pass on."""
    caller = _CALLER.get()
    if caller is not None:
        caller.quotas.turns(caller.key.tenant, count)


def set_caller(caller: Admitted | None) -> None:
    """For the server's interceptor: each call runs in a context of its own."""
    _CALLER.set(caller)
