"""Explicit feedback that waits for what it is about: whole records, as one may have to be buried."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from services.feedback.mining.adapters.sql_lanes import tenants_with
from services.feedback.mining.codec import decode_explicit, owner_of
from services.feedback.tables import EXPLICIT
from shared.language.opinions import ExplicitFeedback
from shared.language.turns import Turn
from shared.log.events import Event, Partition, Record
from shared.state.database import Database, Transaction


class WaitingRow(NamedTuple):
    place: int
    record: Record
    # Unix time.
    arrived: float
    failures: int


class SqlWaiting:
    """WaitingRecords, and the wakes of mining.ports, within one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._connection = transaction.connection

    def is_full(self, tenant: str, most: int) -> bool:
        query = sa.select(EXPLICIT.c.seq).where(EXPLICIT.c.tenant == tenant)
        place = query.order_by(EXPLICIT.c.seq).offset(most - 1).limit(1)
        return self._connection.execute(place).first() is not None

    def add(self, record: Record, explicit: ExplicitFeedback, arrived: float, due: float) -> None:
        event = record.event
        self._connection.execute(
            EXPLICIT.insert().values(
                event_id=event.id,
                topic=record.partition.topic,
                number=record.partition.number,
                position=record.offset,
                key=event.key,
                value=event.value,
                source=event.source,
                time=event.time.timestamp(),
                headers=dict(event.headers),
                arrived=arrived,
                tenant=explicit.tenant,
                user_id=explicit.user_id,
                conversation_id=explicit.conversation_id,
                completion_id=explicit.completion_id,
                due=due,
            )
        )

    def remove(self, place: int) -> bool:
        delete = EXPLICIT.delete().where(EXPLICIT.c.seq == place)
        return bool(self._connection.execute(delete).rowcount)

    def postpone(self, place: int, due: float, failures: int) -> None:
        update = EXPLICIT.update().where(EXPLICIT.c.seq == place)
        self._connection.execute(update.values(due=due, failures=failures))

    def wake(self, turn: Turn) -> None:
        """One query for each of its names: for two in one, SQLite would read everything of the tenant that
        waits."""
        about = [EXPLICIT.c.conversation_id == turn.conversation_id]
        if turn.completion_id:
            about.append(EXPLICIT.c.completion_id == turn.completion_id)
        for one in about:
            update = EXPLICIT.update().where(EXPLICIT.c.tenant == turn.tenant, one)
            self._connection.execute(update.values(due=0.0))


class SqlWaitingReads:
    """What is due, read outside a transaction. Every method raises Unavailable while the database is
    unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, now: float, most: int) -> list[WaitingRow]:
        with self._database.read() as connection:
            tenants = tenants_with(connection, EXPLICIT, sa.true())[:most]
            share = most // max(len(tenants), 1)
            rows = [row for tenant in tenants for row in _due_of(connection, tenant, now, share)]
        return [WaitingRow(row.seq, _record(row), row.arrived, row.failures) for row in rows]

    def next_due(self) -> float | None:
        query = sa.select(sa.func.min(EXPLICIT.c.due))
        with self._database.read() as connection:
            tenants = tenants_with(connection, EXPLICIT, sa.true())
            found = [
                connection.execute(query.where(EXPLICIT.c.tenant == tenant)).scalar_one()
                for tenant in tenants
            ]
        return min((one for one in found if one is not None), default=None)


def _due_of(connection: sa.Connection, tenant: str, now: float, most: int) -> Sequence[Any]:
    theirs = (EXPLICIT.c.tenant == tenant) & (EXPLICIT.c.due <= now)
    query = sa.select(EXPLICIT).where(theirs).order_by(EXPLICIT.c.due).limit(most)
    return connection.execute(query).all()


def _record(row: Any) -> Record:
    event = Event(
        topic=row.topic,
        id=row.event_id,
        key=row.key,
        value=row.value,
        source=row.source,
        time=datetime.fromtimestamp(row.time, UTC),
        headers=row.headers,
        owner=owner_of(decode_explicit(row.value)),
    )
    return Record(event, Partition(row.topic, row.number), row.position)
