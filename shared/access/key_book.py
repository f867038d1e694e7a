"""The live keys by which a process admits callers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.language.errors import Unauthenticated
from shared.language.keys import LiveKey, Quota, secret_digest

_USE_EVERY_S = 60.0


@dataclass(slots=True)
class KeyBook:
    """The live keys and quotas, as last received. Thread-safe."""

    clock: Callable[[], datetime]
    # Keys from settings: always valid, never expiring.
    fixed: tuple[LiveKey, ...] = ()
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    _keys: Mapping[str, LiveKey] = field(default_factory=dict)
    _uses: dict[str, datetime] = field(default_factory=dict)
    _reported: dict[str, datetime] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.put((), {})

    def put(self, keys: Iterable[LiveKey], quotas: Mapping[str, Quota]) -> None:
        """Replaces everything that was known."""
        self._keys = {key.digest: key for key in (*keys, *self.fixed)}
        known = {key.key_id for key in self._keys.values()}
        with self._lock:  # keys that ended are not used any more
            self._reported = {one: at for one, at in self._reported.items() if one in known}
        self.quotas = dict(quotas)

    def find(self, secret: str) -> LiveKey:
        """The key with this secret, looked up by its digest, so that timing reveals nothing about the key.
        Raises Unauthenticated if it is unknown or has expired."""
        key = self._keys.get(secret_digest(secret))
        if key is None:
            raise Unauthenticated("this API key is unknown", reason="INVALID_API_KEY")
        now = self.clock()
        if key.expire_time is not None and key.expire_time <= now:
            raise Unauthenticated("this API key has expired", reason="EXPIRED_API_KEY")
        if key.key_id:
            self._note_use(key.key_id, now)
        return key

    def take_uses(self) -> dict[str, datetime]:
        """When keys were last used, by key id, as far as not returned before; accurate to about a minute."""
        with self._lock:
            uses, self._uses = self._uses, {}
            self._reported |= uses
        return uses

    def _note_use(self, key_id: str, now: datetime) -> None:
        reported = self._reported.get(key_id)
        if reported is None or (now - reported).total_seconds() >= _USE_EVERY_S:
            with self._lock:
                self._uses[key_id] = now
