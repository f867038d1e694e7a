"""What the API reads: alarms, streams, buckets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from services.drift import codec
from services.drift.adapters.sql_streams import ALARMS, BUCKETS, STREAMS, state_of
from services.drift.domain import BUCKET_S, Alarm, Bucket, StreamKey, StreamState, bucket_width
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.errors import NotFound
from shared.language.paging import Term
from shared.state.database import Database

Position = tuple[float, str]


class SqlReadings:
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
        query = query.order_by(STREAMS.c.stream, STREAMS.c.model_version)
        with self._database.read() as connection:
            return [
                state_of(StreamKey(row.stream, row.tenant, row.model_version), row.state)
                for row in connection.execute(query)
            ]

    def buckets(
        self,
        stream: str,
        tenant: str,
        width_s: int,
        start: datetime | None,
        end: datetime | None,
    ) -> tuple[list[Bucket], int]:
        rows_of = [BUCKETS.c.stream == stream, BUCKETS.c.tenant == tenant]
        if start:
            rows_of.append(BUCKETS.c.start >= start.timestamp())
        if end:
            rows_of.append(BUCKETS.c.start < end.timestamp())
        with self._database.read() as connection:
            width = width_s or self._width(connection, rows_of)
            rows = connection.execute(_grouped(rows_of, width)).all()
        return [
            Bucket(
                datetime.fromtimestamp(row.place * width, UTC),
                row.model_version,
                int(row.values_count),  # PostgreSQL sums integers to a Decimal
                row.values_sum,
                row.users,
            )
            for row in rows
        ], width

    def _width(self, connection: sa.Connection, rows_of: list[Any]) -> int:
        ends = sa.select(sa.func.min(BUCKETS.c.start), sa.func.max(BUCKETS.c.start)).where(*rows_of)
        first, last = connection.execute(ends).one()
        if first is None:
            return BUCKET_S
        return bucket_width(datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC))


def _alarm(row: Any) -> Alarm:
    return codec.alarm_of(events.Alarm.FromString(row.body))


def _grouped(rows_of: list[Any], width_s: int) -> sa.Select[Any]:
    place = (BUCKETS.c.start // width_s).label("place")
    return (
        sa.select(
            place,
            BUCKETS.c.model_version,
            sa.func.sum(BUCKETS.c["count"]).label("values_count"),
            sa.func.sum(BUCKETS.c["sum"]).label("values_sum"),
            sa.func.count(sa.distinct(BUCKETS.c.user_id)).label("users"),
        )
        .where(*rows_of)
        .group_by(place, BUCKETS.c.model_version)
        .order_by(place, BUCKETS.c.model_version)
    )
