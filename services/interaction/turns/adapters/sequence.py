"""The numbers of turns, in the order of storing: search and archive go by them."""

from __future__ import annotations

import sqlalchemy as sa

from services.interaction.tables import TURNS
from shared.state.database import Transaction


def newest_settled(transaction: Transaction) -> int:
    """The seq up to which no turn will come into sight any more, so that a reader who goes by seq misses
    none: numbers are given in order and come into sight with the commit, and writers take turns
    (Database)."""
    newest = sa.select(sa.func.coalesce(sa.func.max(TURNS.c.seq), 0))
    return int(transaction.connection.execute(newest).scalar_one())
