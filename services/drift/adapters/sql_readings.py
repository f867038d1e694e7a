"""Alarms, streams and buckets, as the API reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.drift import codec
from services.drift.adapters.sql_streams import state_of
from services.drift.adapters.tables import ALARMS, BUCKETS, COURSE, STREAMS
from services.drift.domain import (
    BUCKET_S,
    COURSE_S,
    Alarm,
    Bucket,
    StreamKey,
    StreamState,
    bucket_width,
)
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.errors import NotFound
from shared.language.paging import Term
from shared.state.database import Database

Position = tuple[float, str]
_KEY = [one.name for one in fields(StreamKey)]


class SqlReadings:
    """The Readings port. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def alarms(
        self, tenant: str, terms: Sequence[Term], after: Position | None, size: int
    ) -> list[Alarm]:
        query = sa.select(ALARMS.c.body).where(ALARMS.c.tenant == tenant)
        for term in terms:
            column = ALARMS.c[term.field]
            query = query.where(
                column == term.value if term.operator == "=" else column != term.value
            )
        if after:
            created, alarm_id = after
            older = sa.and_(ALARMS.c.created == created, ALARMS.c.alarm_id > alarm_id)
            query = query.where(sa.or_(ALARMS.c.created < created, older))
        query = query.order_by(ALARMS.c.created.desc(), ALARMS.c.alarm_id).limit(size)
        with self._database.read() as connection:
            return [_alarm(row) for row in connection.execute(query)]

    def alarm(self, tenant: str, alarm_id: str) -> Alarm:
        query = sa.select(ALARMS.c.body).where(
            ALARMS.c.alarm_id == alarm_id, ALARMS.c.tenant == tenant
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"there is no alarm {alarm_id!r}; ListAlarms shows them", field="name")
        return _alarm(row)

    def streams(self, tenant: str) -> list[StreamState]:
        query = sa.select(STREAMS).where(STREAMS.c.tenant == tenant)
        query = query.order_by(STREAMS.c.stream, STREAMS.c.model_version, STREAMS.c.place)
        with self._database.read() as connection:
            return [
                state_of(StreamKey(*(row[name] for name in _KEY)), row["place"], row["state"])
                for row in connection.execute(query).mappings()
            ]

    def buckets(
        self,
        stream: str,
        tenant: str,
        width_s: int,
        start: datetime | None,
        end: datetime | None,
        group: str = "",
    ) -> tuple[list[Bucket], int]:
        asked = _Asked(stream, tenant, start, end, group)
        with self._database.read() as connection:
            width = _width(connection, asked, width_s)
            rows = connection.execute(_grouped(asked, width)).all()
        return [
            Bucket(
                datetime.fromtimestamp(row.place * width, UTC),
                row.model_version,
                int(row.values_count),  # PostgreSQL sums integers to a Decimal
                row.values_sum,
                int(row.users),
            )
            for row in rows
        ], width


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which buckets are wanted."""

    stream: str
    tenant: str
    start: datetime | None
    end: datetime | None
    group: str

    def of(self, table: sa.Table) -> list[sa.ColumnElement[bool]]:
        mine = {"stream": self.stream, "tenant": self.tenant, "group": self.group}
        found = [table.c[name] == value for name, value in mine.items()]
        if self.start:
            found.append(table.c.start >= self.start.timestamp())
        if self.end:
            found.append(table.c.start < self.end.timestamp())
        return found


def _width(connection: sa.Connection, asked: _Asked, width_s: int) -> int:
    """In seconds; a multiple of COURSE_S if some of the buckets have been summed up."""
    found = {
        table: connection.execute(
            sa.select(
                sa.func.min(table.c.start).label("first"),
                sa.func.max(table.c.start).label("last"),
                sa.func.sum(table.c["count"]).label("total"),
            ).where(*asked.of(table))
        ).one()
        for table in (BUCKETS, COURSE)
    }
    rows = [row for row in found.values() if row.first is not None]
    width = width_s or BUCKET_S
    if rows and not width_s:
        first = datetime.fromtimestamp(min(row.first for row in rows), UTC)
        last = datetime.fromtimestamp(max(row.last for row in rows), UTC)
        width = bucket_width(first, last, sum(int(row.total) for row in rows))
    is_summed = found[COURSE].first is not None
    return -(-width // COURSE_S) * COURSE_S if is_summed else width


def _grouped(asked: _Asked, width_s: int) -> sa.Select[Any]:
    """Recent buckets count their users; of those summed up, the minute with the most users counts."""
    parts = [
        sa.select(
            (table.c.start // width_s).label("place"),
            table.c.model_version,
            sa.func.sum(table.c["count"]).label("count"),
            sa.func.sum(table.c["sum"]).label("sum"),
            users.label("users"),
        )
        .where(*asked.of(table))
        .group_by(sa.text("place"), table.c.model_version)
        for table, users in (
            (BUCKETS, sa.func.count(sa.distinct(BUCKETS.c.user_id))),
            (COURSE, sa.func.max(COURSE.c.users)),
        )
    ]
    both = sa.union_all(*parts).subquery()
    return (
        sa.select(
            both.c.place,
            both.c.model_version,
            sa.func.sum(both.c["count"]).label("values_count"),
            sa.func.sum(both.c["sum"]).label("values_sum"),
            sa.func.max(both.c.users).label("users"),
        )
        .group_by(both.c.place, both.c.model_version)
        .order_by(both.c.place, both.c.model_version)
    )


def _alarm(row: Any) -> Alarm:
    return codec.alarm_of(events.Alarm.FromString(row.body))
