"""Turns and follow-ups that wait, on SQL (contracts in mining.ports)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.feedback.tables import PENDING, TURNS
from shared.contracts.messages import decode_message, encode_message
from shared.gen.trimtab.common.v1 import common_pb2
from shared.language.opinions import ExplicitFeedback
from shared.language.turns import Turn
from shared.state.database import Transaction


class SqlTurns:
    """`now`: Unix time."""

    def __init__(self, transaction: Transaction, now: Callable[[], float]) -> None:
        self._transaction, self._connection = transaction, transaction.connection
        self._now = now

    def add(self, turn: Turn) -> bool:
        if self.at(turn.tenant, turn.conversation_id, turn.index) is not None:
            return False
        statement = self._transaction.insert(TURNS).values(
            tenant=turn.tenant,
            conversation_id=turn.conversation_id,
            idx=turn.index,
            turn_id=turn.turn_id,
            role=turn.role,
            message=encode_message(turn.message).SerializeToString(),
            user_id=turn.user_id,
            create_time=turn.time.timestamp(),
            model_version=turn.model_version,
            completion_id=turn.completion_id,
            channel=turn.channel,
            arrived=self._now(),
            signal=turn.signal,
            replaces=turn.replaces_turn_id,
            policy=turn.policy,
        )
        return bool(self._connection.execute(statement.on_conflict_do_nothing()).rowcount)

    def cut(self, turn: Turn) -> tuple[int, int]:
        known = every_turn(turn.tenant, turn.conversation_id).where(TURNS.c.turn_id == turn.turn_id)
        if self._connection.execute(known).first() is not None:
            return 0, 0
        of_turns, of_pending = (
            (table.c.tenant == turn.tenant)
            & (table.c.conversation_id == turn.conversation_id)
            & (table.c.idx >= turn.index)
            for table in (TURNS, PENDING)
        )
        self._connection.execute(TURNS.update().where(of_turns).values(replaced=True))
        waited = self._connection.execute(sa.select(PENDING.c.ready).where(of_pending)).scalars()
        ready = list(waited)
        self._connection.execute(PENDING.delete().where(of_pending))
        return ready.count(True), ready.count(False)

    def at(self, tenant: str, conversation_id: str, index: int) -> Turn | None:
        return self._first(turns_of(tenant, conversation_id).where(TURNS.c.idx == index))

    def get(self, tenant: str, conversation_id: str, turn_id: str) -> Turn | None:
        return self._first(every_turn(tenant, conversation_id).where(TURNS.c.turn_id == turn_id))

    def before(self, tenant: str, conversation_id: str, index: int, most: int) -> list[Turn]:
        return turns_before(self._connection, tenant, conversation_id, index, most)

    def answer_meant(self, explicit: ExplicitFeedback) -> Turn | None:
        query = sa.select(TURNS).where(
            TURNS.c.tenant == explicit.tenant, TURNS.c.role == "assistant"
        )
        if explicit.completion_id:
            query = query.where(TURNS.c.completion_id == explicit.completion_id)
        else:
            query = query.where(TURNS.c.conversation_id == explicit.conversation_id)
        if explicit.turn_id:
            query = query.where(TURNS.c.turn_id == explicit.turn_id)
        if explicit.index is not None:
            query = query.where(TURNS.c.idx == explicit.index)
        newest = (TURNS.c.replaced, TURNS.c.idx.desc())
        return self._first(query.order_by(*newest).limit(1))

    def last_arrival(self, tenant: str, conversation_id: str) -> float:
        # Asked for the latest only, a database would walk through the tenant's turns, the newest first.
        query = sa.select(TURNS.c.arrived).where(
            TURNS.c.tenant == tenant, TURNS.c.conversation_id == conversation_id
        )
        return max(self._connection.execute(query).scalars(), default=0.0)

    def _first(self, query: sa.Select[Any]) -> Turn | None:
        row = self._connection.execute(query).first()
        return turn_of(row) if row else None


class SqlFollowUps:
    """`now`: Unix time."""

    def __init__(self, transaction: Transaction, now: Callable[[], float]) -> None:
        self._transaction, self._connection = transaction, transaction.connection
        self._now = now

    def add(self, feedback_id: str, turn: Turn, *, ready: bool) -> None:
        statement = self._transaction.insert(PENDING).values(
            feedback_id=feedback_id,
            tenant=turn.tenant,
            conversation_id=turn.conversation_id,
            idx=turn.index,
            ready=ready,
            arrived=self._now(),
        )
        self._connection.execute(statement.on_conflict_do_nothing())

    def wake(self, turn: Turn, *, is_answer: bool) -> bool:
        waits = (
            (PENDING.c.tenant == turn.tenant)
            & (PENDING.c.conversation_id == turn.conversation_id)
            & (PENDING.c.idx == turn.index + 1)
            & PENDING.c.ready.is_(False)
        )
        change = PENDING.update().values(ready=True) if is_answer else PENDING.delete()
        return bool(self._connection.execute(change.where(waits)).rowcount)

    def take(self, feedback_id: str) -> bool:
        delete = PENDING.delete().where(PENDING.c.feedback_id == feedback_id)
        return bool(self._connection.execute(delete).rowcount)

    def drop_up_to(self, tenant: str, place: int, most: int) -> int:
        theirs = PENDING.c.ready & (PENDING.c.tenant == tenant) & (PENDING.c.seq <= place)
        oldest = sa.select(PENDING.c.seq).where(theirs).order_by(PENDING.c.seq).limit(most)
        delete = PENDING.delete().where(PENDING.c.seq.in_(oldest))
        return self._connection.execute(delete).rowcount


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
        replaces_turn_id=row.replaces,
        policy=row.policy,
    )


def turns_before(
    connection: sa.Connection, tenant: str, conversation_id: str, index: int, most: int
) -> list[Turn]:
    query = turns_of(tenant, conversation_id).where(TURNS.c.idx < index)
    rows = connection.execute(query.order_by(TURNS.c.idx.desc()).limit(most)).all()
    return [turn_of(row) for row in reversed(rows)]


def turns_of(tenant: str, conversation_id: str) -> sa.Select[Any]:
    """The conversation as it stands: one turn at each place."""
    return every_turn(tenant, conversation_id).where(TURNS.c.replaced.is_(False))


def every_turn(tenant: str, conversation_id: str) -> sa.Select[Any]:
    return sa.select(TURNS).where(
        TURNS.c.tenant == tenant, TURNS.c.conversation_id == conversation_id
    )


def takers_of(connection: sa.Connection, tenant: str, conversation_id: str) -> set[str]:
    """Users who took part. Without DISTINCT: with it, SQLite would read all of the tenant's turns."""
    query = sa.select(TURNS.c.user_id).where(
        TURNS.c.tenant == tenant, TURNS.c.conversation_id == conversation_id
    )
    return set(connection.execute(query).scalars())
