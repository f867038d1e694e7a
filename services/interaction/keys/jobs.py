"""The live keys and quotas, kept current for this process's own server and for those who watch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from services.interaction.keys.ports import KeyStore
from shared.access.key_book import KeyBook
from shared.language.keys import LiveKey, Quota

# How often to look for changes by another replica and for keys that have expired, in seconds.
LOOK_EVERY_S = 1.0


class LiveKeys:
    """Watchers see what is refreshed here when they look next."""

    def __init__(self, store: KeyStore, book: KeyBook, clock: Callable[[], datetime]) -> None:
        self._store, self._book, self._clock = store, book, clock
        self._lock = threading.Lock()
        # Not stored yet.
        self._uses: dict[str, datetime] = {}
        self.keys: tuple[LiveKey, ...] = ()
        self.quotas: dict[str, Quota] = {}
        self.revision = 0

    def refresh(self) -> None:
        with self._lock:
            keys = tuple(key.live() for key in self._store.live(self._clock()))
            quotas = self._store.quotas()
            if self.revision and (keys, quotas) == (self.keys, self.quotas):
                return
            self.keys, self.quotas = keys, quotas
            self._book.put(keys, quotas)
            self.revision += 1

    def once(self) -> None:
        """Unavailable while the store is; what was known stays in use."""
        self.refresh()
        self._uses |= self._book.take_uses()
        if self._uses:
            self._store.note_uses(list(self._uses.items()))
            self._uses = {}
