"""What the service's rows say, as domain values; for Book and Shelf alike."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.feedback import codec
from services.feedback.adapters.sql_tables import TURNS, USERS
from services.feedback.domain import Turn, User
from shared.contracts.messages import decode_message
from shared.gen.trimtab.common.v1 import common_pb2


def turn_of(row: Any) -> Turn:
    return Turn(
        tenant=row.tenant,
        conversation_id=row.conversation_id,
        index=row.idx,
        turn_id=row.turn_id,
        message=decode_message(common_pb2.Message.FromString(row.message)),
        user_id=row.user_id,
        create_time=datetime.fromtimestamp(row.create_time, UTC),
        model_version=row.model_version,
        completion_id=row.completion_id,
        channel=row.channel,
        signal=row.signal,
        replaces=row.replaces,
    )


def turns_before(
    connection: sa.Connection, tenant: str, conversation_id: str, index: int, most: int
) -> list[Turn]:
    query = turns_of(tenant, conversation_id).where(TURNS.c.idx < index)
    rows = connection.execute(query.order_by(TURNS.c.idx.desc()).limit(most)).all()
    return [turn_of(row) for row in reversed(rows)]


def user_at(connection: sa.Connection, tenant: str, user_id: str) -> User:
    query = sa.select(USERS).where(USERS.c.tenant == tenant, USERS.c.user_id == user_id)
    row = connection.execute(query).first()
    if row is None:
        return User()
    persona = codec.decode_persona(row.persona) if row.persona is not None else None
    return User(row.turns, row.complaints, persona, row.persona_version, row.persona_since)


def turns_of(tenant: str, conversation_id: str) -> sa.Select[Any]:
    """The talk as it stands: one turn at each place."""
    return every_turn(tenant, conversation_id).where(TURNS.c.replaced.is_(False))


def every_turn(tenant: str, conversation_id: str) -> sa.Select[Any]:
    return sa.select(TURNS).where(
        TURNS.c.tenant == tenant, TURNS.c.conversation_id == conversation_id
    )
