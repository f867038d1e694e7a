"""The sequence numbers of turns, in the order of storing; search and archive read by them."""

from __future__ import annotations

import sqlalchemy as sa

from services.interaction.tables import TURNS
from shared.state.database import Transaction


def newest_settled(transaction: Transaction) -> int:
    """The seq up to which no further turn will become visible, so that a reader by seq misses none. Numbers are
    given in order and become visible with the commit, and writers take turns (Database)."""
    newest = sa.select(sa.func.coalesce(sa.func.max(TURNS.c.seq), 0))
    return int(transaction.connection.execute(newest).scalar_one())
