"""API keys as the services that check them know them, their roles, and quotas.

A key is 32 random bytes in letters; only its SHA-256 is stored. A slow hash protects passwords that people
choose and others can guess; nobody guesses 256 random bits, and checking a key must take microseconds.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.language.errors import PermissionDenied

WRITER, READER, OPERATOR, ADMIN = "writer", "reader", "operator", "admin"
ROLES = (WRITER, READER, OPERATOR, ADMIN)
# The prefix of every key that Trimtab makes, by which scanners for leaked secrets recognise it.
KEY_PREFIX = "tt_"


def new_secret() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(32)


def secret_digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Quota:
    """Per second; 0 means no limit. `burst_s` seconds' worth may arrive together."""

    requests_per_s: float = 0.0
    turns_per_s: float = 0.0
    burst_s: float = 2.0


@dataclass(frozen=True, slots=True)
class LiveKey:
    """`roles` is a set: a reader may not write. ADMIN may do everything."""

    digest: str
    tenant: str
    key_id: str
    roles: frozenset[str]
    expire_time: datetime | None = None

    def need(self, *roles: str) -> None:
        """Raises PermissionDenied unless the key has one of `roles` or ADMIN."""
        if not self.roles.intersection((*roles, ADMIN)):
            raise PermissionDenied(
                f"this needs a key with the role {' or '.join(roles)}; "
                f"yours has: {', '.join(sorted(self.roles))}",
                reason="ROLE_MISSING",
            )


def fixed_keys(tenants: Mapping[str, str]) -> tuple[LiveKey, ...]:
    """Keys from settings (secret -> tenant), with all roles."""
    return tuple(
        LiveKey(secret_digest(secret), tenant, "", frozenset(ROLES))
        for secret, tenant in tenants.items()
    )
