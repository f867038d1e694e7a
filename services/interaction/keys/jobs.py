"""The live keys and quotas, kept fresh for this process's own door and for those who watch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from services.interaction.keys.ports import KeyStore
from shared.access.key_book import KeyBook
from shared.language.keys import LiveKey, Quota

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 1.0


class LiveKeys:
    """`run` looks into the store once a second: another replica may have changed it, and time ends
    keys. What is refreshed here is seen by watchers at their next look."""

    def __init__(self, store: KeyStore, book: KeyBook, clock: Callable[[], datetime]) -> None:
        self._store, self._book, self._clock = store, book, clock
        self._lock = threading.Lock()
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

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.refresh()
                uses = self._book.take_uses()
                if uses:
                    self._store.note_uses(list(uses.items()))
            except SQLAlchemyError:
                # The database may be away for a while; what was known goes on.
                _log.exception("the live keys are not refreshed")
            stop.wait(_LOOK_EVERY_S)
