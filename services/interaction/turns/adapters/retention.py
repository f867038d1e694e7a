"""Removing conversations by age."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.interaction.tables import (
    ARCHIVE_POSITION,
    ASSESSMENTS,
    COMPLETIONS,
    CONVERSATIONS,
    LABELS,
    SCORES,
    TURNS,
)
from services.interaction.turns.adapters.search import forget_words
from shared.language.times import microseconds
from shared.privacy.retention import AgedRows
from shared.state.database import Database, Transaction
from shared.state.queries import distinct_of

_CONVERSATIONS_A_BATCH = 200


def _is_alone(table: sa.Table) -> sa.ColumnElement[bool]:
    """Rows whose conversation is not in the store: it was removed, or never arrived."""
    theirs = (CONVERSATIONS.c.tenant == table.c.tenant) & (
        CONVERSATIONS.c.conversation_id == table.c.conversation_id
    )
    return ~sa.exists().where(theirs)


# Labels, scores, assessments and completions are removed with their conversation. These came later, name no
# conversation, or theirs never arrived.
AGING = (
    AgedRows("labels", LABELS, LABELS.c.labelled_us, True, _is_alone(LABELS)),
    AgedRows("scores", SCORES, SCORES.c.scored_us, True, _is_alone(SCORES)),
    AgedRows("assessments", ASSESSMENTS, ASSESSMENTS.c.assessed_us, True, _is_alone(ASSESSMENTS)),
    AgedRows("completions", COMPLETIONS, COMPLETIONS.c.created_us, True, _is_alone(COMPLETIONS)),
)


class SqlAgedTurns:
    """Whole conversations, with their labels, scores, assessments and completions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tenants(self) -> list[str]:
        with self._database.read() as connection:
            return list(connection.execute(distinct_of(CONVERSATIONS.c.tenant)).scalars())

    def shorten(self, tenant: str, added_before: datetime) -> int:
        before_us = microseconds(added_before)
        with self._database.read() as connection:
            names = _aged(connection, tenant, before_us)
        if not names:
            return 0
        with self._database.begin() as transaction:
            # Something may have been added to some of them meanwhile.
            names = _aged(transaction.connection, tenant, before_us, names)
            turns = _remove(transaction, tenant, names)
            transaction.count("retention", "taken", n=turns)
            transaction.count("retention", "made", "STORE_AGE", turns)
        return len(names)


def _aged(
    connection: sa.Connection, tenant: str, before_us: int, among: Sequence[str] | None = None
) -> Sequence[str]:
    archived = sa.select(sa.func.coalesce(sa.func.max(ARCHIVE_POSITION.c.seq), 0))
    young = sa.exists().where(
        TURNS.c.tenant == CONVERSATIONS.c.tenant,
        TURNS.c.conversation_id == CONVERSATIONS.c.conversation_id,
        TURNS.c.seq > archived.scalar_subquery(),
    )
    query = sa.select(CONVERSATIONS.c.conversation_id).where(
        CONVERSATIONS.c.tenant == tenant, CONVERSATIONS.c.added_us < before_us, ~young
    )
    if among is None:
        query = query.order_by(CONVERSATIONS.c.added_us).limit(_CONVERSATIONS_A_BATCH)
    else:
        query = query.where(CONVERSATIONS.c.conversation_id.in_(among))
    return list(connection.execute(query).scalars())


def _remove(transaction: Transaction, tenant: str, names: Sequence[str]) -> int:
    """Removes conversations and everything about them; how many turns."""
    connection = transaction.connection
    mine = (TURNS.c.tenant == tenant) & TURNS.c.conversation_id.in_(names)
    rows: Any = connection.execute(sa.select(TURNS.c.seq, TURNS.c.body).where(mine)).all()
    forget_words(transaction, [(row.seq, row.body) for row in rows])
    for table in (TURNS, LABELS, SCORES, ASSESSMENTS, COMPLETIONS, CONVERSATIONS):
        these = (table.c.tenant == tenant) & table.c.conversation_id.in_(names)
        connection.execute(sa.delete(table).where(these))
    return len(rows)
