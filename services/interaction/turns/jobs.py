"""Background work: words are indexed, turns archived, old ones removed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from services.interaction.turns.ports import AgedTurns, SearchIndex, TurnArchive
from shared.language.retention import RetentionPolicy
from shared.state.loop import repeat

# Seconds of rest for each second of work, while turns are stored as they arrive, and while they wait.
_REST, _REST_BEHIND = 4, 19
# How often this looks for turns that another replica stored, in seconds; its own commits wake it.
_IDLE_S = 2.0


class SearchIndexing:
    """Indexes words a moment after their turns are stored, so that a burst of turns does not wait for it. It
    uses at most a fifth of the time, and a twentieth while turns wait (`behind`). `run` is the thread;
    `wake` is set when turns were stored."""

    def __init__(
        self, index: SearchIndex, wake: threading.Event, behind: Callable[[], bool] = lambda: False
    ) -> None:
        self._index, self._wake, self._behind = index, wake, behind

    def run(self, stop: threading.Event) -> None:
        repeat("search", lambda: self._once(stop), idle_s=_IDLE_S, wake=self._wake)(stop)

    def _once(self, stop: threading.Event) -> int:
        began = time.monotonic()
        indexed = self._index.index_once()
        if indexed:
            rest = _REST_BEHIND if self._behind() else _REST
            stop.wait(rest * (time.monotonic() - began))
        return indexed


class Housekeeping:
    """Archives what is stored, and removes what is older than the tenant's retention."""

    def __init__(
        self,
        archive: TurnArchive,
        aged: AgedTurns,
        policy: RetentionPolicy,
        clock: Callable[[], datetime],
    ) -> None:
        self._archive, self._aged = archive, aged
        self._policy, self._clock = policy, clock
        self._is_swept = False

    def once(self) -> None:
        """Does everything that can be done now. Unavailable while the archive fails."""
        if not self._is_swept:
            self._archive.sweep()
            self._is_swept = True
        # Turns that arrive meanwhile wait for the next time; otherwise they would go into ever smaller files.
        while self._archive.archive_once() == self._archive.batch:
            continue
        while self._archive.compact_once():
            continue
        self._shorten_store()
        self._shorten_archive()

    def _shorten_store(self) -> int:
        """How many conversations were removed."""
        gone = 0
        for tenant in self._aged.tenants():
            days = self._policy.of(tenant).store_days
            while days and (found := self._aged.shorten(tenant, self._before(days))):
                gone += found
        return gone

    def _shorten_archive(self) -> None:
        for tenant in self._archive.tenants():
            if days := self._policy.of(tenant).archive_days:
                self._archive.drop_before(tenant, self._before(days))

    def _before(self, days: int) -> datetime:
        return self._clock() - timedelta(days=days)
