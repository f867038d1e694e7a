"""API keys as the doors know them, and what each tenant may ask of the doors.

A key is 32 random bytes in letters; only its SHA-256 is kept. A slow hash would protect what people
choose and others can guess; nobody guesses 256 random bits, and a door has microseconds for a look-up.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.language.errors import PermissionDenied, ResourceExhausted, Unauthenticated

WRITER, READER, OPERATOR, ADMIN = "writer", "reader", "operator", "admin"
ROLES = (WRITER, READER, OPERATOR, ADMIN)
# How every key that was made here begins: scanners for leaked secrets know it by this.
KEY_PREFIX = "tt_"
_USE_EVERY_S = 60.0


def new_secret() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(32)


def secret_digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Quota:
    """Per second; 0 is no bound. `burst_s` seconds' worth may come at once."""

    requests_per_s: float = 0.0
    turns_per_s: float = 0.0
    burst_s: float = 2.0


@dataclass(frozen=True, slots=True)
class LiveKey:
    """`roles` is a set: a reader may not write. ADMIN may all."""

    digest: str
    tenant: str
    key_id: str
    roles: frozenset[str]
    expire_time: datetime | None = None

    def need(self, *roles: str) -> None:
        """PermissionDenied unless the key has one of `roles`."""
        if not self.roles.intersection((*roles, ADMIN)):
            raise PermissionDenied(
                f"this needs a key with the role {' or '.join(roles)}; "
                f"yours has: {', '.join(sorted(self.roles))}",
                reason="ROLE_MISSING",
            )


def fixed_keys(tenants: Mapping[str, str]) -> tuple[LiveKey, ...]:
    """Keys from settings (text -> tenant), with all roles."""
    return tuple(
        LiveKey(secret_digest(secret), tenant, "", frozenset(ROLES))
        for secret, tenant in tenants.items()
    )


@dataclass(slots=True)
class KeyBook:
    """The live keys and quotas, as last heard. Safe to use from several threads."""

    clock: Callable[[], datetime]
    # Keys from settings: always there, never expired.
    fixed: tuple[LiveKey, ...] = ()
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    _keys: Mapping[str, LiveKey] = field(default_factory=dict)
    _uses: dict[str, datetime] = field(default_factory=dict)
    _told: dict[str, datetime] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.put((), {})

    def put(self, keys: Iterable[LiveKey], quotas: Mapping[str, Quota]) -> None:
        """Takes the place of all that was known."""
        self._keys = {key.digest: key for key in (*keys, *self.fixed)}
        self.quotas = dict(quotas)

    def find(self, secret: str) -> LiveKey:
        """Looked up by its digest: the time that takes says nothing of the key. Unauthenticated if it
        is not known or has expired."""
        key = self._keys.get(secret_digest(secret))
        if key is None:
            raise Unauthenticated("this API key is not known", reason="INVALID_API_KEY")
        now = self.clock()
        if key.expire_time is not None and key.expire_time <= now:
            raise Unauthenticated("this API key has expired", reason="EXPIRED_API_KEY")
        if key.key_id:
            self._note_use(key.key_id, now)
        return key

    def take_uses(self) -> dict[str, datetime]:
        """When keys were used, as far as it was not told yet; to about a minute."""
        with self._lock:
            uses, self._uses = self._uses, {}
            self._told |= uses
        return uses

    def _note_use(self, key_id: str, now: datetime) -> None:
        told = self._told.get(key_id)
        if told is None or (now - told).total_seconds() >= _USE_EVERY_S:
            with self._lock:
                self._uses[key_id] = now


class Quotas:
    """Token buckets by tenant, in this process: with two replicas of a door a tenant has twice as much.

    A batch larger than a bucket is taken when the bucket is full, and what follows waits for it: it
    could never be taken otherwise.
    """

    def __init__(
        self, quotas: Callable[[], Mapping[str, Quota]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quotas, self._clock = quotas, clock
        self._levels: dict[tuple[str, str], tuple[float, float]] = {}
        self._lock = threading.Lock()

    def request(self, tenant: str) -> None:
        """ResourceExhausted with the delay after which it is worth to come back."""
        quota = self._quotas().get(tenant)
        if quota is not None and quota.requests_per_s:
            self._take(tenant, "requests", 1, quota.requests_per_s, quota.burst_s)

    def turns(self, tenant: str, count: int) -> None:
        """As `request`, for the turns or feedback of a batch."""
        quota = self._quotas().get(tenant)
        if quota is not None and quota.turns_per_s and count:
            self._take(tenant, "turns", count, quota.turns_per_s, quota.burst_s)

    def _take(self, tenant: str, what: str, count: int, rate: float, burst_s: float) -> None:
        capacity = max(rate * burst_s, 1.0)
        with self._lock:
            now = self._clock()
            level, then = self._levels.get((tenant, what), (capacity, now))
            level = min(capacity, level + (now - then) * rate)
            missing = min(count, capacity) - level
            if missing <= 1e-9:
                self._levels[(tenant, what)] = (level - count, now)
                return
            self._levels[(tenant, what)] = (level, now)
        raise ResourceExhausted(
            f"tenant {tenant!r} may send {rate:g} {what} a second",
            reason=f"QUOTA_{what.upper()}",
            retry_after_s=missing / rate,
        )
