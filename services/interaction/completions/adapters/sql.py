"""Stored completions in SQL: where their turns are, and their own fields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.interaction.completions.domain import (
    CHOICE_OF,
    METADATA,
    REQUEST,
    USAGE,
    Completion,
    CompletionQuery,
    is_stored,
)
from services.interaction.tables import COMPLETIONS, TURNS
from shared.contracts.turns import decode_turn
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.errors import NotFound
from shared.language.times import from_microseconds, microseconds, now
from shared.language.turns import Turn
from shared.state.database import Database, Transaction


def keep_completions(turns: Sequence[Turn], transaction: Transaction) -> None:
    """Keeps those of the turns just stored that are to be found by their completion's id."""
    rows = [_row(turn) for turn in turns if is_stored(turn)]
    if rows:
        insert = transaction.insert(COMPLETIONS).on_conflict_do_nothing()
        transaction.connection.execute(insert, rows)


class SqlCompletions:
    """The port of stored completions. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, tenant: str, completion_id: str) -> Completion | None:
        with self._database.read() as connection:
            row = connection.execute(_one(tenant, completion_id)).first()
            return _completion(connection, row) if row else None

    def page(self, tenant: str, query: CompletionQuery) -> list[Completion]:
        place = (COMPLETIONS.c.created_us, COMPLETIONS.c.completion_id)
        select = sa.select(COMPLETIONS).where(COMPLETIONS.c.tenant == tenant)
        if query.model_version:
            select = select.where(COMPLETIONS.c.model_version == query.model_version)
        for key, value in query.metadata.items():
            select = select.where(COMPLETIONS.c.metadata[key].as_string() == value)
        with self._database.read() as connection:
            if query.after:
                last = connection.execute(_one(tenant, query.after)).first()
                if last is None:
                    raise NotFound(f"no completion {query.after[:80]!r} is stored", field="after")
                before = sa.tuple_(*place) < (last.created_us, last.completion_id)
                beyond = sa.tuple_(*place) > (last.created_us, last.completion_id)
                select = select.where(before if query.newest_first else beyond)
            order = [column.desc() if query.newest_first else column for column in place]
            rows = connection.execute(select.order_by(*order).limit(query.size + 1)).all()
            return [_completion(connection, row) for row in rows]

    def messages(self, tenant: str, completion_id: str) -> list[Turn] | None:
        """Of siblings, the last one before the answer; the others have answers of their own."""
        with self._database.read() as connection:
            row = connection.execute(_one(tenant, completion_id)).first()
            if row is None:
                return None
            earlier = (TURNS.c.position < row.position) & (TURNS.c.created_us <= row.created_us)
            query = sa.select(TURNS.c.body).where(_of_conversation(row), earlier)
            ordered = query.order_by(TURNS.c.position, TURNS.c.created_us, TURNS.c.seq)
            turns = [_turn(found.body) for found in connection.execute(ordered)]
        line = {turn.index: turn for turn in turns if CHOICE_OF not in turn.metadata}
        return list(line.values())

    def set_metadata(self, tenant: str, completion_id: str, metadata: Mapping[str, str]) -> bool:
        mine = (COMPLETIONS.c.tenant == tenant) & (COMPLETIONS.c.completion_id == completion_id)
        with self._database.begin() as transaction:
            update = COMPLETIONS.update().where(mine).values(metadata=dict(metadata))
            return bool(transaction.connection.execute(update).rowcount)


def _one(tenant: str, completion_id: str) -> sa.Select[Any]:
    return sa.select(COMPLETIONS).where(
        COMPLETIONS.c.tenant == tenant, COMPLETIONS.c.completion_id == completion_id
    )


def _of_conversation(row: Any) -> sa.ColumnElement[bool]:
    return sa.and_(TURNS.c.tenant == row.tenant, TURNS.c.conversation_id == row.conversation_id)


def _completion(connection: sa.Connection, row: Any) -> Completion:
    query = sa.select(TURNS.c.body).where(_of_conversation(row), TURNS.c.position == row.position)
    beside = [_turn(found.body) for found in connection.execute(query.order_by(TURNS.c.seq))]
    choices = [turn for turn in beside if turn.turn_id == row.turn_id]
    choices += [turn for turn in beside if turn.metadata.get(CHOICE_OF) == row.completion_id]
    return Completion(
        completion_id=row.completion_id,
        conversation_id=row.conversation_id,
        user_id=row.user_id,
        model_version=row.model_version,
        create_time=from_microseconds(row.created_us),
        metadata=row.metadata,
        request=row.request,
        usage=row.usage,
        choices=tuple(choices),
    )


def _row(turn: Turn) -> dict[str, Any]:
    return {
        "tenant": turn.tenant,
        "completion_id": turn.completion_id,
        "conversation_id": turn.conversation_id,
        "turn_id": turn.turn_id,
        "position": turn.index,
        "user_id": turn.user_id,
        "model_version": turn.model_version,
        "created_us": microseconds(turn.create_time or now()),
        "metadata": _texts(turn.metadata.get(METADATA, "")),
        "request": turn.metadata.get(REQUEST, ""),
        "usage": turn.metadata.get(USAGE, ""),
    }


def _texts(document: str) -> dict[str, str]:
    """Empty if it is not a JSON object, as redaction may have changed it."""
    try:
        read = json.loads(document or "{}")
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in read.items()} if isinstance(read, dict) else {}


def _turn(body: bytes) -> Turn:
    return decode_turn(pb.Turn.FromString(body))
