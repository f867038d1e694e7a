"""What is done behind the stages: words are indexed, turns archived, old ones removed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from services.interaction.turns.domain.retention import Policy
from services.interaction.turns.ports import AgedTurns, SearchIndex, TurnArchive
from shared.language.times import microseconds

_log = logging.getLogger(__name__)
# Seconds of rest for each second of work: when turns can be stored as they come, and when they wait.
_REST, _REST_BEHIND = 4, 19
# How long turns that another replica stored may wait for this one; its own commits wake it.
_IDLE_S = 2.0


class SearchIndexing:
    """`run` is its thread. `behind`: whether turns wait to be stored. Words are indexed a moment after
    their turn is stored, so that a burst of turns does not wait for it: it takes a fifth of the thread's
    time at most, and a twentieth while turns wait."""

    def __init__(
        self,
        index: SearchIndex,
        on_stored: Callable[[Callable[[], None]], None],
        behind: Callable[[], bool] = lambda: False,
    ) -> None:
        """`on_stored` is given what to call once turns were stored."""
        self._index, self._on_stored, self._behind = index, on_stored, behind

    def run(self, stop: threading.Event) -> None:
        wake = threading.Event()
        self._on_stored(wake.set)
        while not stop.is_set():
            began = time.monotonic()
            if self._index.index_once():
                rest = _REST_BEHIND if self._behind() else _REST
                stop.wait(rest * (time.monotonic() - began))
            else:
                wake.wait(_IDLE_S)
                wake.clear()


class Housekeeping:
    """`run` is its thread; `once` does what is there to be done now."""

    def __init__(
        self,
        archive: TurnArchive,
        aged: AgedTurns,
        policy: Policy,
        clock: Callable[[], datetime],
        every_s: float,
    ) -> None:
        self._archive, self._aged = archive, aged
        self._policy, self._clock, self._every_s = policy, clock, every_s

    def run(self, stop: threading.Event) -> None:
        """A disk or an object store that fails is tried again next time."""
        swept = False
        while not stop.wait(self._every_s):
            try:
                if not swept:
                    self._archive.sweep()
                    swept = True
                self.once(stop)
            except OSError as error:
                _log.warning("the archive waits: %s", error)

    def once(self, stop: threading.Event | None = None) -> None:
        steps = (self._archive.archive_once, self._archive.compact_once, self._shorten_store)
        for step in steps:
            while step() and not (stop and stop.is_set()):
                continue
        self._archive.release()
        for tenant in self._archive.tenants():
            days = self._policy.of(tenant).archive_days
            if days:
                first = self._clock() - timedelta(days=days)
                self._archive.drop_before(tenant, first.date().isoformat())

    def _shorten_store(self) -> int:
        """How many conversations left the store."""
        now = self._clock()
        aged = [(tenant, self._policy.of(tenant).store_days) for tenant in self._aged.tenants()]
        return sum(
            self._aged.shorten(tenant, microseconds(now - timedelta(days=days)))
            for tenant, days in aged
            if days
        )
