"""The numbers of turns, in the order of storing: search and archive go by them."""

from __future__ import annotations

import sqlalchemy as sa

from services.interaction.tables import TURNS
from shared.state.database import Transaction

# PostgreSQL's lock between those who add turns (shared) and who asks for the newest (alone).
_ADDING = 7_236_002


def adding_turns(transaction: Transaction) -> None:
    """To be called before turns are added: their numbers are given in order, but come into sight in
    the order of commits."""
    if transaction.connection.dialect.name == "postgresql":
        lock = sa.func.pg_advisory_xact_lock_shared(_ADDING)
        transaction.connection.execute(sa.select(lock))


def newest_settled(transaction: Transaction) -> int:
    """The seq up to which no turn will come into sight any more, so that a reader who goes by seq
    misses none. Waits for those who add turns; SQLite has one writer at a time anyway."""
    if transaction.connection.dialect.name == "postgresql":
        transaction.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADDING)))
    newest = sa.select(sa.func.coalesce(sa.func.max(TURNS.c.seq), 0))
    return int(transaction.connection.execute(newest).scalar_one())
