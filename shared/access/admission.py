"""Who may call what over gRPC: with a key, or as a trusted internal caller.

Closed (TRIMTAB_REQUIRE_KEYS): a call needs `authorization: Bearer KEY` with the role that its method
requires, and its tenant is the key's. Trusted internal callers identify themselves by
TRIMTAB_INTERNAL_TOKEN or by a client certificate, and name the tenant. For a call with both, the key counts.

Open (the local stack): every caller that reaches the port is trusted, and keys are ignored.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from google.protobuf import descriptor_pool

from shared.access.headers import INTERNAL
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.gen.trimtab.common.v1 import access_pb2 as pb
from shared.language.errors import PermissionDenied, Unauthenticated
from shared.language.keys import ADMIN, OPERATOR, READER, WRITER, LiveKey

INTERNAL_ONLY = "internal"
_ROLES = {
    pb.CALLER_WRITER: WRITER,
    pb.CALLER_READER: READER,
    pb.CALLER_OPERATOR: OPERATOR,
    pb.CALLER_ADMIN: ADMIN,
    pb.CALLER_INTERNAL: INTERNAL_ONLY,
}
# Methods of Google's APIs that every service may serve. A key sees its own tenant's operations.
_OF_OTHERS = {
    f"google.longrunning.Operations.{method}": READER
    for method in ("GetOperation", "WaitOperation", "ListOperations")
}


@dataclass(frozen=True, slots=True)
class Admitted:
    """A caller with a key."""

    key: LiveKey
    quotas: Quotas


# The caller; None for trusted internal callers.
_CALLER: ContextVar[Admitted | None] = ContextVar("trimtab_caller", default=None)


class Access(Protocol):
    def admit(self, method: str, metadata: Mapping[str, str], certified: bool) -> Admitted | None:
        """The caller of `method` ("/package.Service/Method"); None for a trusted internal caller.
        Raises Unauthenticated, PermissionDenied, or, past the tenant's quota, ResourceExhausted."""


class OpenAccess:
    """Every caller is trusted."""

    def admit(self, method: str, metadata: Mapping[str, str], certified: bool) -> Admitted | None:
        return None


class KeyedAccess:
    """`tenant`: the only one whose keys are accepted, where a service serves a single tenant."""

    def __init__(self, book: KeyBook, quotas: Quotas, token: str = "", tenant: str = "") -> None:
        self._book, self._quotas, self._token, self._tenant = book, quotas, token, tenant

    def admit(self, method: str, metadata: Mapping[str, str], certified: bool) -> Admitted | None:
        secret = bearer(metadata.get("authorization", ""))
        if not secret:
            if certified or self._is_internal(metadata.get(INTERNAL, "")):
                return None
            raise Unauthenticated(
                "send your API key as `authorization: Bearer KEY`", reason="MISSING_API_KEY"
            )
        key = self._book.find(secret)
        role = role_for(method)
        if role == INTERNAL_ONLY or (self._tenant and key.tenant != self._tenant):
            raise PermissionDenied(
                f"{method} is not for the keys of tenant {key.tenant!r}", reason="NOT_FOR_KEYS"
            )
        key.need(role)
        self._quotas.request(key.tenant)
        return Admitted(key, self._quotas)

    def _is_internal(self, token: str) -> bool:
        return bool(self._token) and hmac.compare_digest(token.encode(), self._token.encode())


def role_for(method: str) -> str:
    """The role that "/package.Service/Method" needs, by its option `caller` in the protos; INTERNAL_ONLY if no
    key may call it. A method without the option, or unknown to this process, needs ADMIN."""
    name = method.removeprefix("/").replace("/", ".")
    try:
        return _OF_OTHERS.get(name) or _role_of(name)
    except KeyError:
        return ADMIN


@cache
def _role_of(name: str) -> str:
    """Raises KeyError for an unknown method."""
    options = descriptor_pool.Default().FindMethodByName(name).GetOptions()
    return _ROLES.get(options.Extensions[pb.caller], ADMIN)


def bearer(authorization: str) -> str:
    """The key of an `Authorization` header; empty if there is none."""
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def calling_key() -> LiveKey | None:
    """The key of the call being served; None for a trusted internal caller."""
    caller = _CALLER.get()
    return None if caller is None else caller.key


def charge_turns(count: int) -> None:
    """Raises ResourceExhausted if the caller's tenant may not send that many now. Trusted internal callers
    have already charged for what they pass on."""
    caller = _CALLER.get()
    if caller is not None:
        caller.quotas.turns(caller.key.tenant, count)


def set_caller(caller: Admitted | None) -> None:
    """For the server's interceptor: each call runs in its own context."""
    _CALLER.set(caller)
