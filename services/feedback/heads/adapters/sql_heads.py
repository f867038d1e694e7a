"""Tenants' own heads on SQL: labels to fit on, versions with their verdicts, and which one serves."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from cachetools import LRUCache

from services.feedback.heads.app.refit import FIT_JOB, STAGE, TRACK_JOB, WAITS
from services.feedback.heads.codec import encode_fit
from services.feedback.heads.domain import (
    SUPERSEDED,
    Correction,
    Figures,
    HeadCard,
    HeadLabel,
    HeadState,
    Interval,
    Look,
    Stand,
    head_name,
)
from services.feedback.mining import codec
from services.feedback.mining.adapters.sql_reads import STANDS
from services.feedback.mining.app.classifier import NON_TEXT, TOO_SHORT
from services.feedback.mining.app.dissatisfaction import DissatisfactionHead
from services.feedback.mining.app.follow_ups import exchange_of_mined
from services.feedback.mining.app.own_heads import NamedHead
from services.feedback.mining.codec import timestamp
from services.feedback.mining.domain import Mined, Source
from services.feedback.tables import FEEDBACK, HEAD_LOOKS, HEAD_SOURCES, HEADS
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.language.errors import FailedPrecondition, TrimtabError
from shared.state import operations
from shared.state.database import Database, Transaction
from shared.state.jobs import enqueue, is_full

_SERVES = HEADS.c.state == HeadState.SERVING.value


class SqlHeadReads:
    """`shipped` is the head that all others correct. A promoted head serves immediately, in every process:
    which one serves is asked each time, its weights are read once."""

    def __init__(
        self, database: Database, name: str, shipped: DissatisfactionHead, most_kept: int = 64
    ) -> None:
        self._database, self._name, self._shipped = database, name, shipped
        self._lock = threading.Lock()
        self._kept: LRUCache[tuple[str, int], DissatisfactionHead] = LRUCache(most_kept)

    def serving(self, tenants: Collection[str]) -> Mapping[str, NamedHead]:
        mine = _SERVES & (HEADS.c.shipped == self._name) & HEADS.c.tenant.in_(tenants)
        with self._database.read() as connection:
            rows = connection.execute(sa.select(HEADS.c.tenant, HEADS.c.version).where(mine)).all()
        return {
            row.tenant: NamedHead(head_name(row.version), self._head(row.tenant, row.version))
            for row in rows
        }

    def serving_card(self, tenant: str) -> HeadCard | None:
        mine = _SERVES & (HEADS.c.shipped == self._name) & (HEADS.c.tenant == tenant)
        with self._database.read() as connection:
            row = connection.execute(sa.select(HEADS).where(mine)).first()
        return _card(row) if row else None

    def stand(self, tenant: str) -> Stand:
        """Of what serves the tenant now."""
        own = self.serving_card(tenant)
        name = own.name if own else self._name
        head = self._head(tenant, own.version) if own else self._shipped
        tried = (HEADS.c.tenant == tenant) & (HEADS.c.against == name)
        theirs = (HEADS.c.tenant == tenant) & (HEADS.c.shipped == self._name)
        with self._database.read() as connection:
            attempts = connection.execute(sa.select(sa.func.count()).where(tried)).scalar_one()
            newest = sa.select(sa.func.max(HEADS.c.seen)).where(theirs)
            seen = connection.execute(newest).scalar() or 0
        return Stand(name, head, attempts, seen)

    def labels(self, tenant: str, most: int) -> list[HeadLabel]:
        """Follow-ups whose answer the same user judged outside the conversation, the newest judgements
        first; where one replaced another, only the last."""
        said, follow_up = FEEDBACK, FEEDBACK.alias("follow_up")
        same = [
            said.c[name] == follow_up.c[name]
            for name in ("tenant", "conversation_id", "answer_turn_id", "user_id")
        ]
        wanted = (
            (said.c.tenant == tenant)
            & (said.c.source == Source.EXPLICIT.value)
            & said.c.abstained.is_(False)
            & (said.c.answer_turn_id != "")
            & (follow_up.c.source == Source.FOLLOW_UP.value)
            & STANDS
        )
        columns = (said.c.seq, said.c.value, follow_up.c.value.label("follow_up"))
        query = sa.select(*columns).join(follow_up, sa.and_(*same)).where(wanted)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(said.c.seq.desc()).limit(most)).all()
        return _labels([(row.seq, _mined(row.value), _mined(row.follow_up)) for row in rows])

    def looks(self) -> list[Look]:
        with self._database.read() as connection:
            return [_look(row) for row in connection.execute(sa.select(HEAD_LOOKS))]

    def look(self, tenant: str) -> Look | None:
        query = sa.select(HEAD_LOOKS).where(HEAD_LOOKS.c.tenant == tenant)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return _look(row) if row else None

    def page(self, tenant: str, before: int | None, size: int) -> tuple[list[HeadCard], int]:
        """Newest first, below version `before`; and how many there are."""
        theirs = HEADS.c.tenant == tenant
        query = sa.select(HEADS).where(theirs).order_by(HEADS.c.version.desc()).limit(size)
        if before is not None:
            query = query.where(HEADS.c.version < before)
        with self._database.read() as connection:
            total = connection.execute(sa.select(sa.func.count()).where(theirs)).scalar_one()
            return [_card(row) for row in connection.execute(query)], total

    def load(self, tenant: str, version: int) -> tuple[HeadCard, bytes]:
        """With its arrays, as an .npz."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(HEADS).where(_is(tenant, version))).one()
        return _card(row), row.weights

    def other_shipped(self) -> list[tuple[str, int]]:
        """(tenant, version) of heads that serve, but correct a head that is no longer shipped."""
        query = sa.select(HEADS.c.tenant, HEADS.c.version)
        with self._database.read() as connection:
            rows = connection.execute(query.where(_SERVES, HEADS.c.shipped != self._name)).all()
        return [(row.tenant, row.version) for row in rows]

    def _head(self, tenant: str, version: int) -> DissatisfactionHead:
        with self._lock:
            kept = self._kept.get((tenant, version))
        if kept is None:
            _, content = self.load(tenant, version)
            kept = unpacked(content).of(self._shipped)
        with self._lock:
            self._kept[tenant, version] = kept
        return kept


class SqlHeadWrites:
    """`now`: Unix time."""

    def __init__(self, transaction: Transaction, now: Callable[[], float]) -> None:
        self._transaction, self._connection = transaction, transaction.connection
        self._now = now

    def add(
        self,
        card: HeadCard,
        correction: Correction,
        sources: Collection[tuple[str, str]],
        seen: int,
    ) -> HeadCard:
        newest = sa.select(sa.func.max(HEADS.c.version)).where(HEADS.c.tenant == card.tenant)
        version = (self._connection.execute(newest).scalar() or 0) + 1
        if card.state is HeadState.SERVING:
            self._end((HEADS.c.tenant == card.tenant) & _SERVES, SUPERSEDED)
        card = replace(card, version=version)
        row = {
            "tenant": card.tenant,
            "version": version,
            "state": card.state.value,
            "reason": card.reason,
            "shipped": card.shipped,
            "against": card.against,
            "seen": seen,
            "card": _content(card),
            "weights": packed(correction, card.shipped),
            "stored": self._now(),
        }
        self._connection.execute(HEADS.insert().values(row))
        whose = {"tenant": card.tenant, "version": version, "stored": self._now()}
        rows = [
            {**whose, "user_id": user, "conversation_id": conversation}
            for user, conversation in sorted(sources)
        ]
        self._connection.execute(HEAD_SOURCES.insert(), rows)
        return card

    def retire(self, tenant: str, version: int, reason: str) -> bool:
        return self._end(_is(tenant, version) & _SERVES, reason)

    def begin_fit(self, tenant: str, operation: str, now: datetime) -> bool:
        metadata = pb.FitHeadMetadata(start_time=timestamp(now))
        if not operations.begin(self._transaction, operation, metadata, tenant=tenant):
            return False
        if is_full(self._transaction, FIT_JOB, tenant, 1):
            raise FailedPrecondition(
                "a head is already being fitted: wait until it is done (`trimtab feedback heads`)",
                reason="FIT_UNDER_WAY",
            )
        looks = self._transaction.insert(HEAD_LOOKS).values(tenant=tenant, looked=now.timestamp())
        self._connection.execute(looks.on_conflict_do_nothing())
        payload = {"tenant": tenant, "operation": operation}
        enqueue(self._transaction, FIT_JOB, f"{FIT_JOB}:{operation}", payload)
        self._transaction.count(STAGE, "taken")
        self._transaction.count(STAGE, "waiting", WAITS)
        return True

    def end_operation(self, operation: str, look: Look, card: HeadCard | None) -> None:
        operations.succeed(self._transaction, operation, encode_fit(look, card))

    def fail_operation(self, operation: str, error: TrimtabError) -> None:
        operations.fail(self._transaction, operation, error)

    def ask_to_track(self, tenant: str, version: int) -> None:
        job = f"{TRACK_JOB}:{tenant}:{version}:former"
        enqueue(self._transaction, TRACK_JOB, job, {"tenant": tenant, "version": version})

    def set_look(self, look: Look) -> None:
        values = asdict(look) | {"looked": look.looked.timestamp()}
        mine = HEAD_LOOKS.c.tenant == values.pop("tenant")
        self._connection.execute(HEAD_LOOKS.update().where(mine).values(values))

    def set_tracked(self, tenant: str, version: int, run_id: str, number: str) -> None:
        values = {"mlflow_run_id": run_id, "mlflow_version": number}
        self._connection.execute(HEADS.update().where(_is(tenant, version)).values(values))

    def _end(self, which: Any, reason: str) -> bool:
        values = {"state": HeadState.FORMER.value, "reason": reason}
        return bool(self._connection.execute(HEADS.update().where(which).values(values)).rowcount)


def packed(correction: Correction, shipped: str) -> bytes:
    """An .npz of plain arrays: nothing in it can run."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        slope=np.float64(correction.slope),
        shift=np.float64(correction.shift),
        columns=correction.columns,
        weights=correction.weights,
        shipped=np.array(shipped),
    )
    return buffer.getvalue()


def unpacked(content: bytes) -> Correction:
    with np.load(io.BytesIO(content), allow_pickle=False) as kept:
        return Correction(
            float(kept["slope"]), float(kept["shift"]), kept["columns"], kept["weights"]
        )


def _labels(joined: Sequence[tuple[int, Mined, Mined]]) -> list[HeadLabel]:
    """(place, explicit, follow-up) into one label a follow-up."""
    found: dict[str, list[tuple[int, Mined, Mined]]] = {}
    for row in joined:
        if row[2].label.abstain_reason not in (NON_TEXT, TOO_SHORT):
            found.setdefault(row[2].feedback_id, []).append(row)
    return [
        HeadLabel(
            rows[0][2].user_id,
            rows[0][2].conversation_id,
            exchange_of_mined(rows[0][2]),
            sum(said.label.dissatisfaction for _, said, _ in rows) / len(rows),
            rows[0][0],
        )
        for rows in found.values()
    ]


def _mined(value: bytes) -> Mined:
    return codec.decode_mined(value, "")


def _is(tenant: str, version: int) -> sa.ColumnElement[bool]:
    return (HEADS.c.tenant == tenant) & (HEADS.c.version == version)


def _look(row: Any) -> Look:
    content = dict(row._mapping)
    return Look(**content | {"looked": datetime.fromtimestamp(row.looked, UTC)})


def _content(card: HeadCard) -> dict[str, Any]:
    """What has no column of its own. JSON has no infinity."""
    return {
        "strength": card.strength if math.isfinite(card.strength) else None,
        "attempt": card.attempt,
        "labels": card.labels,
        "users": card.users,
        "figures": asdict(card.figures),
        "create_time": card.create_time.isoformat(),
    }


def _card(row: Any) -> HeadCard:
    content = dict(row.card)
    figures: dict[str, Any] = {
        name: Interval(**value) if isinstance(value, dict) else value
        for name, value in content["figures"].items()
    }
    own = {
        "strength": math.inf if content["strength"] is None else content["strength"],
        "figures": Figures(**figures),
        "create_time": datetime.fromisoformat(content["create_time"]),
    }
    columns = ("tenant", "version", "reason", "shipped", "against")
    kept = {name: getattr(row, name) for name in (*columns, "mlflow_run_id", "mlflow_version")}
    return HeadCard(**content | own | kept | {"state": HeadState(row.state)})
