"""Streams, buckets and alarms in SQL. The in-memory twin is `sqlite://`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from services.drift import codec
from services.drift.adapters.tables import ALARMS, BUCKETS, DAY_S, STREAMS, TESTED, VALUES, VECTORS
from services.drift.detectors.detector import Reference
from services.drift.domain import (
    BUCKET_S,
    EVERYONE,
    Alarm,
    Observation,
    StreamKey,
    StreamState,
)
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.identifiers import stable_id
from shared.language.times import now
from shared.language.topics import DRIFT_DETECTED
from shared.log.events import Event
from shared.state.database import Transaction
from shared.telemetry.spans import trace_headers

KEY = ("stream", "tenant", "group", "model_version")


def of_key(table: sa.Table, key: StreamKey, but: str = "") -> sa.ColumnElement[bool]:
    return sa.and_(*(table.c[name] == value for name, value in asdict(key).items() if name != but))


class SqlStreams:
    """The Streams port within one transaction of the stage."""

    def __init__(self, transaction: Transaction, clock: Callable[[], datetime] = now) -> None:
        self._transaction, self._clock = transaction, clock
        self._connection = transaction.connection

    def load(self, key: StreamKey) -> StreamState | None:
        query = sa.select(STREAMS.c.state, STREAMS.c.place).where(of_key(STREAMS, key))
        row = self._connection.execute(query).first()
        return state_of(key, row.place, row.state) if row else None

    def save(self, state: StreamState) -> None:
        seen_at = self._clock().timestamp()
        values = {"state": body_of(state), "place": state.place, "seen_at": seen_at}
        insert = self._transaction.insert(STREAMS).values(**asdict(state.key), **values)
        self._connection.execute(insert.on_conflict_do_update(index_elements=KEY, set_=values))

    def places(self, key: StreamKey) -> dict[str, int]:
        beside = of_key(STREAMS, key, but="group") & (STREAMS.c.place != EVERYONE)
        rows = self._connection.execute(sa.select(STREAMS.c.group, STREAMS.c.place).where(beside))
        return {row.group: row.place for row in rows}

    def first_of_conversation(self, key: StreamKey, conversation_id: str) -> bool:
        unit = unit_of(key.stream, f"{key.tenant}/{key.model_version}/{conversation_id}")
        day = int(self._clock().timestamp()) // DAY_S
        insert = self._transaction.insert(TESTED).values(unit=unit, day=day)
        return bool(self._connection.execute(insert.on_conflict_do_nothing()).rowcount)

    def remember(self, observation: Observation, epoch: int, position: int) -> None:
        self._connection.execute(
            VALUES.insert().values(
                **asdict(observation.key),
                epoch=epoch,
                position=position,
                event_id=observation.event_id,
                conversation_id=observation.conversation_id,
                user_id=observation.user_id,
                value=observation.value,
                time=observation.time.timestamp(),
            )
        )

    def recalled(self, key: StreamKey, epoch: int, start: int) -> list[Observation]:
        query = (
            sa.select(VALUES)
            .where(of_key(VALUES, key), VALUES.c.epoch == epoch, VALUES.c.position >= start)
            .order_by(VALUES.c.position)
        )
        return [_observation(key, row) for row in self._connection.execute(query)]

    def forget(self, key: StreamKey, epoch: int, before: int) -> None:
        old = sa.or_(
            VALUES.c.epoch < epoch, sa.and_(VALUES.c.epoch == epoch, VALUES.c.position < before)
        )
        self._connection.execute(VALUES.delete().where(of_key(VALUES, key), old))

    def add_vector(self, key: StreamKey, epoch: int, vector: NDArray[np.float32]) -> None:
        had = self._vectors(key, epoch)
        body = (had.vectors if had else b"") + vector.astype("<f4").tobytes()
        values = {"vectors": body, "dimensions": len(vector)}
        insert = self._transaction.insert(VECTORS).values(**asdict(key), epoch=epoch, **values)
        keys = [*KEY, "epoch"]
        self._connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=values))

    def vectors(self, key: StreamKey, epoch: int) -> NDArray[np.float32]:
        row = self._vectors(key, epoch)
        if row is None:
            return np.zeros((0, 0), dtype=np.float32)
        return np.frombuffer(row.vectors, dtype="<f4").reshape(-1, row.dimensions)

    def draw(self, observation: Observation) -> None:
        start = int(observation.time.timestamp()) // BUCKET_S * BUCKET_S
        insert = self._transaction.insert(BUCKETS).values(
            **asdict(observation.key),
            start=start,
            user_id=observation.user_id,
            count=1,
            sum=observation.value,
        )
        keys = [*KEY, "start", "user_id"]
        sums = {
            "count": BUCKETS.c["count"] + 1,
            "sum": BUCKETS.c["sum"] + observation.value,
        }
        self._connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=sums))

    def raise_alarm(self, alarm: Alarm) -> None:
        message = codec.alarm_message(alarm)
        self._connection.execute(
            ALARMS.insert().values(
                alarm_id=alarm.alarm_id,
                **asdict(alarm.key),
                created=alarm.create_time.timestamp(),
                body=message.SerializeToString(),
            )
        )
        self._transaction.emit(
            Event(
                topic=DRIFT_DETECTED,
                id=alarm.alarm_id,
                key=f"tenants/{alarm.key.tenant}/streams/{alarm.key.stream}",
                value=events.DriftDetected(alarm=message).SerializeToString(),
                source="drift",
                time=alarm.create_time,
                headers={**trace_headers()},
            )
        )

    def _vectors(self, key: StreamKey, epoch: int) -> Any:
        query = sa.select(VECTORS).where(of_key(VECTORS, key), VECTORS.c.epoch == epoch)
        return self._connection.execute(query).first()


def unit_of(stream: str, conversation: str) -> int:
    """A hash of a conversation in a stream, as a number of 60 bits: it identifies nobody."""
    return int(stable_id(stream, conversation, length=15), 16)


def body_of(state: StreamState) -> dict[str, Any]:
    """A state as JSON, without its key and place."""
    body = asdict(state)
    del body["key"], body["place"]
    return body


def state_of(key: StreamKey, place: int, body: Mapping[str, Any]) -> StreamState:
    reference = Reference(**body["reference"]) if body["reference"] else None
    scales = tuple(body["former_scales"])
    kept = {**body, "former_scales": scales, "reference": reference}
    return StreamState(**{**kept, "key": key, "place": place})


def _observation(key: StreamKey, row: Any) -> Observation:
    time = datetime.fromtimestamp(row.time, UTC)
    return Observation(key, row.event_id, row.conversation_id, row.user_id, row.value, time)
