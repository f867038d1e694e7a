"""The live keys of a process's door."""

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
