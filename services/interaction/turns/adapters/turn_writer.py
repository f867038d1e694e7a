"""Writes turns to SQL, many in a few statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.interaction.tables import CONVERSATIONS, TURNS
from shared.contracts.turns import encode_turn
from shared.language.identifiers import turn_name
from shared.language.times import microseconds, now
from shared.language.turns import Turn
from shared.state.database import Transaction


class SqlTurnWriter:
    """The turns within a transaction."""

    def __init__(self, transaction: Transaction, clock: Callable[[], datetime] = now) -> None:
        self._transaction, self._clock = transaction, clock

    def digests_of(self, turns: Sequence[Turn]) -> dict[str, str]:
        name = (TURNS.c.tenant, TURNS.c.conversation_id, TURNS.c.turn_id)
        asked = {(turn.tenant, turn.conversation_id, turn.turn_id) for turn in turns}
        query = sa.select(*name, TURNS.c.digest).where(sa.tuple_(*name).in_(asked))
        rows = self._transaction.connection.execute(query)
        return {turn_name(*row[:3]): row[3] for row in rows}

    def add(self, turns: Sequence[Turn]) -> bool:
        rows = [_row(turn) for turn in turns]
        try:
            with self._transaction.savepoint():
                # All in one statement. SQLite's driver releases the interpreter with each statement, and a busy
                # thread keeps it for a while; row by row, that was most of the time.
                values = [tuple(row.values()) for row in rows]
                self._transaction.insert_rows(TURNS, tuple(rows[0]) if rows else (), values)
        except sa.exc.IntegrityError:
            return False
        self._widen(turns, rows)
        return True

    def _widen(self, turns: Sequence[Turn], rows: Sequence[dict[str, Any]]) -> None:
        """Adds the conversations, or adds the turns to their counts and extends their times."""
        wider: dict[tuple[str, str], dict[str, Any]] = {}
        added_us = microseconds(self._clock())
        for turn, row in zip(turns, rows, strict=True):
            created_us = row["created_us"]
            one = wider.setdefault(
                (turn.tenant, turn.conversation_id),
                {
                    "tenant": turn.tenant,
                    "conversation_id": turn.conversation_id,
                    "user_id": turn.user_id,
                    "channel": turn.channel,
                    "turn_count": 0,
                    "created_us": created_us,
                    "updated_us": created_us,
                    "listed_us": created_us,
                    "added_us": added_us,
                },
            )
            one["turn_count"] += 1
            one["created_us"] = min(one["created_us"], created_us)
            one["updated_us"] = max(one["updated_us"], created_us)
        insert = self._transaction.insert(CONVERSATIONS)
        had, new = CONVERSATIONS.c, insert.excluded
        changes = {
            "turn_count": had.turn_count + new.turn_count,
            "added_us": new.added_us,
            "created_us": sa.case(
                (had.created_us > new.created_us, new.created_us), else_=had.created_us
            ),
            "updated_us": sa.case(
                (had.updated_us < new.updated_us, new.updated_us), else_=had.updated_us
            ),
        }
        upsert = insert.on_conflict_do_update(
            index_elements=["tenant", "conversation_id"], set_=changes
        ).returning(CONVERSATIONS.c.turn_count)  # then SQLAlchemy, too, sends one statement
        self._transaction.connection.execute(upsert, list(wider.values()))


def _row(turn: Turn) -> dict[str, Any]:
    return {
        "tenant": turn.tenant,
        "conversation_id": turn.conversation_id,
        "turn_id": turn.turn_id,
        "user_id": turn.user_id,
        "position": turn.index,
        "model_version": turn.model_version,
        "digest": turn.digest,
        "created_us": microseconds(turn.create_time or now()),
        "body": encode_turn(turn).SerializeToString(),
    }
