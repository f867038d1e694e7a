"""Archives what is stored, and removes what is older than its tenant keeps it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from services.interaction.adapters.archive import Archive
from services.interaction.adapters.search import forget_words
from services.interaction.adapters.tables import (
    ARCHIVE_POSITION,
    COMPLETIONS,
    CONVERSATIONS,
    LABELS,
    SCORES,
    TURNS,
)
from services.interaction.retention import Policy
from shared.language.times import microseconds
from shared.state.database import Database, Transaction

_log = logging.getLogger(__name__)
_CONVERSATIONS_A_BATCH = 200


class Housekeeping:
    """`run` is its thread; `once` does what is there to be done now."""

    def __init__(
        self,
        database: Database,
        archive: Archive,
        policy: Policy,
        clock: Callable[[], datetime],
        every_s: float,
    ) -> None:
        self._database, self._archive = database, archive
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
        """How many conversations left the store: whole ones, all of whose turns are archived."""
        with self._database.read() as connection:
            tenants = connection.execute(sa.select(CONVERSATIONS.c.tenant).distinct()).scalars()
            aged = [(tenant, self._policy.of(tenant).store_days) for tenant in tenants]
        return sum(self._shorten(tenant, days) for tenant, days in aged if days)

    def _shorten(self, tenant: str, days: int) -> int:
        before = microseconds(self._clock() - timedelta(days=days))
        with self._database.begin() as transaction:
            names = _aged(transaction, tenant, before)
            if names:
                turns = _remove(transaction, tenant, names)
                transaction.count("retention", "taken", n=turns)
                transaction.count("retention", "made", "STORE_AGE", turns)
        return len(names)


def _aged(transaction: Transaction, tenant: str, before_us: int) -> Sequence[str]:
    archived = sa.select(sa.func.coalesce(sa.func.max(ARCHIVE_POSITION.c.seq), 0))
    young = sa.exists().where(
        TURNS.c.tenant == CONVERSATIONS.c.tenant,
        TURNS.c.conversation_id == CONVERSATIONS.c.conversation_id,
        TURNS.c.seq > archived.scalar_subquery(),
    )
    query = sa.select(CONVERSATIONS.c.conversation_id).where(
        CONVERSATIONS.c.tenant == tenant, CONVERSATIONS.c.updated_us < before_us, ~young
    )
    found = transaction.connection.execute(query.limit(_CONVERSATIONS_A_BATCH)).scalars()
    return list(found)


def _remove(transaction: Transaction, tenant: str, names: Sequence[str]) -> int:
    """How many turns were removed with the conversations, and with what was kept about them."""
    connection = transaction.connection
    mine = (TURNS.c.tenant == tenant) & TURNS.c.conversation_id.in_(names)
    rows: Any = connection.execute(sa.select(TURNS.c.seq, TURNS.c.body).where(mine)).all()
    forget_words(transaction, [(row.seq, row.body) for row in rows])
    for table in (TURNS, LABELS, SCORES, COMPLETIONS, CONVERSATIONS):
        these = (table.c.tenant == tenant) & table.c.conversation_id.in_(names)
        connection.execute(sa.delete(table).where(these))
    return len(rows)
