"""Conversations that are older than their tenant keeps them, removed from the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.interaction.tables import (
    ARCHIVE_POSITION,
    COMPLETIONS,
    CONVERSATIONS,
    LABELS,
    SCORES,
    TURNS,
)
from services.interaction.turns.adapters.search import forget_words
from shared.state.database import Database, Transaction

_CONVERSATIONS_A_BATCH = 200


class SqlAgedTurns:
    def __init__(self, database: Database) -> None:
        self._database = database

    def tenants(self) -> list[str]:
        with self._database.read() as connection:
            query = sa.select(CONVERSATIONS.c.tenant).distinct()
            return list(connection.execute(query).scalars())

    def shorten(self, tenant: str, before_us: int) -> int:
        with self._database.begin() as transaction:
            names = _aged(transaction, tenant, before_us)
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
