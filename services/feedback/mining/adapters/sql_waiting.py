"""Explicit feedback that waits for what it is about: whole records, as one may have to be buried."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from services.feedback.mining.codec import decode_explicit, owner_of
from services.feedback.tables import EXPLICIT
from shared.log.events import Event, Partition, Record
from shared.state.database import Database, Transaction


class WaitingRecord(NamedTuple):
    place: int
    record: Record
    # Unix time.
    arrived: float


class SqlWaiting:
    def __init__(self, transaction: Transaction) -> None:
        self._connection = transaction.connection

    def add(self, record: Record, arrived: float) -> None:
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
            )
        )

    def remove(self, place: int) -> bool:
        """False if another replica removed it."""
        delete = EXPLICIT.delete().where(EXPLICIT.c.seq == place)
        return bool(self._connection.execute(delete).rowcount)


class SqlWaitingReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    def after(self, place: int, most: int) -> list[WaitingRecord]:
        query = sa.select(EXPLICIT).where(EXPLICIT.c.seq > place)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(EXPLICIT.c.seq).limit(most)).all()
        return [WaitingRecord(row.seq, _record(row), row.arrived) for row in rows]


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
