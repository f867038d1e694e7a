"""Kafka -> app: the two stages' handlers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.feedback import codec
from services.feedback.adapters.sql_book import SqlBook
from services.feedback.adapters.sql_tables import EXPLICIT
from services.feedback.app import explicit as explicit_app
from services.feedback.app.explicit import JoinExplicit
from services.feedback.app.mining import TakeTurn
from services.feedback.app.preferences import TakePreference
from shared.language.errors import InvalidArgument
from shared.log.events import Event, Partition, Record
from shared.state.database import Database, Transaction
from shared.state.stage import bury


@dataclass(frozen=True, slots=True)
class TurnsHandler:
    take: TakeTurn

    def __call__(self, record: Record, transaction: Transaction) -> None:
        self.take(codec.decode_turn(record.event.value), SqlBook(transaction))


@dataclass(frozen=True, slots=True)
class ExplicitHandler:
    """Joins at once if it can; else the whole record waits in SQL: it may have to be buried."""

    join: JoinExplicit

    def __call__(self, record: Record, transaction: Transaction) -> None:
        explicit = codec.decode_explicit(record.event.value)
        if self.join(explicit, time.time(), SqlBook(transaction)):
            return
        event = record.event
        transaction.connection.execute(
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
                arrived=time.time(),
            )
        )
        transaction.count(explicit_app.STAGE, "waiting", "TURN_NOT_LOGGED")


@dataclass(frozen=True, slots=True)
class PreferencesHandler:
    take: TakePreference

    def __call__(self, record: Record, transaction: Transaction) -> None:
        self.take(codec.decode_preference(record.event.value), SqlBook(transaction))


@dataclass(frozen=True, slots=True)
class ExplicitSweep:
    """Tries again what waits. After `wait_s` it goes to the dead letters as NEVER_LOGGED, but not
    while turns are still to be taken (`turns_lag`): what is late is not lost."""

    database: Database
    join: JoinExplicit
    turns_lag: Callable[[], int]
    wait_s: float
    batch: int = 200

    def sweep_once(self) -> int:
        """How many no longer wait."""
        done, after = 0, 0
        while rows := self._rows(after):
            after = rows[-1].seq
            done += self._sweep(rows)
        return done

    def _rows(self, after: int) -> list[Any]:
        query = sa.select(EXPLICIT).where(EXPLICIT.c.seq > after)
        with self.database.read() as connection:
            return list(connection.execute(query.order_by(EXPLICIT.c.seq).limit(self.batch)).all())

    def _sweep(self, rows: list[Any]) -> int:
        now = time.time()
        late = any(now - row.arrived > self.wait_s for row in rows)
        may_bury = late and self.turns_lag() == 0
        done = 0
        with self.database.begin() as transaction:
            for row in rows:
                expired = may_bury and now - row.arrived > self.wait_s
                if self._settle(row, now, expired, transaction):
                    done += 1
        return done

    def _settle(self, row: Any, now: float, expired: bool, transaction: Transaction) -> bool:
        explicit = codec.decode_explicit(row.value)
        delete = EXPLICIT.delete().where(EXPLICIT.c.seq == row.seq)
        with transaction.savepoint():
            try:
                joined = self.join(explicit, now, SqlBook(transaction))
            except InvalidArgument as error:
                joined, expired, reason, detail = False, True, error.reason, error.message
            else:
                reason = "NEVER_LOGGED"
                detail = f"what it is about was not logged within {self.wait_s:.0f} s"
            if not joined and not expired:
                return False
            if not transaction.connection.execute(delete).rowcount:
                raise InvalidArgument("settled by another replica")  # undoes the join
            transaction.count(explicit_app.STAGE, "waiting", "TURN_NOT_LOGGED", -1)
            if not joined:
                bury(explicit_app.STAGE, record_of(row), transaction, reason, detail)
        return True


def record_of(row: Any) -> Record:
    event = Event(
        topic=row.topic,
        id=row.event_id,
        key=row.key,
        value=row.value,
        source=row.source,
        time=datetime.fromtimestamp(row.time, UTC),
        headers=row.headers,
        owner=codec.owner_of(codec.decode_explicit(row.value)),
    )
    return Record(event, Partition(row.topic, row.number), row.position)
