"""API keys as they are stored: a digest, roles, a lifetime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.language.keys import LiveKey


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its text. It is live until it is revoked or expires."""

    tenant: str
    key_id: str
    digest: str
    prefix: str
    display_name: str
    roles: frozenset[str]
    create_time: datetime
    expire_time: datetime | None = None
    # The lifetime it was created with; its successor gets the same.
    lifetime: timedelta | None = None
    revoke_time: datetime | None = None
    last_use_time: datetime | None = None
    rotated_from: str = ""
    rotated_to: str = ""

    @property
    def name(self) -> str:
        return key_name(self.tenant, self.key_id)

    def is_live(self, now: datetime) -> bool:
        return self.revoke_time is None and (self.expire_time is None or now < self.expire_time)

    def live(self) -> LiveKey:
        return LiveKey(self.digest, self.tenant, self.key_id, self.roles, self.expire_time)


@dataclass(frozen=True, slots=True)
class KeyPage:
    keys: Sequence[Key]
    next_token: str


def key_name(tenant: str, key_id: str) -> str:
    return f"tenants/{tenant}/keys/{key_id}"
