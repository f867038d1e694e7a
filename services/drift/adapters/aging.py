"""What drift forgets by age, and how buckets are summed up.

A stream's evidence is a sum over many users and is kept while the stream receives values. The single values
that it still needs are kept as well, but no longer name their users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from services.drift.adapters.sql_streams import KEY
from services.drift.adapters.tables import (
    ALARMS,
    BUCKETS,
    COURSE,
    DAY_S,
    STREAMS,
    TESTED,
    VALUES,
    VECTORS,
)
from services.drift.domain import COURSE_S
from shared.language.retention import RetentionPolicy
from shared.privacy.retention import AgedRows, Aging
from shared.state.database import Transaction


@dataclass(frozen=True, slots=True)
class SummedBuckets:
    """Buckets older than `detail_s` lose their users: per minute, the number of values, their sum and the
    number of users remain. Works on one minute of one stream at a time."""

    detail_s: float
    place: str = "buckets_summed_up"

    def forget(
        self, transaction: Transaction, policy: RetentionPolicy, now: datetime, most: int
    ) -> int:
        gone = 0
        before = (int(now.timestamp() - self.detail_s) // COURSE_S) * COURSE_S
        oldest = sa.select(BUCKETS).where(BUCKETS.c.start < before).order_by(BUCKETS.c.start)
        while gone < most and (row := transaction.connection.execute(oldest.limit(1)).first()):
            start = row.start // COURSE_S * COURSE_S
            minute = (BUCKETS.c.start >= start) & (BUCKETS.c.start < start + COURSE_S)
            mine = sa.and_(minute, *(BUCKETS.c[name] == getattr(row, name) for name in KEY))
            _add(transaction, mine, start)
            gone += int(transaction.connection.execute(BUCKETS.delete().where(mine)).rowcount)
        return gone


def _add(transaction: Transaction, mine: sa.ColumnElement[bool], start: int) -> None:
    summed = (
        sa.select(
            BUCKETS.c.stream,
            BUCKETS.c.tenant,
            BUCKETS.c.group,
            sa.literal(start).label("start"),
            BUCKETS.c.model_version,
            sa.func.sum(BUCKETS.c["count"]),
            sa.func.sum(BUCKETS.c["sum"]),
            sa.func.count(sa.distinct(BUCKETS.c.user_id)),
        )
        .where(mine)
        .group_by(*(BUCKETS.c[name] for name in KEY))
    )
    insert = transaction.insert(COURSE).from_select([c.name for c in COURSE.c], summed)
    new = insert.excluded
    grown = {
        "count": COURSE.c["count"] + new["count"],
        "sum": COURSE.c["sum"] + new["sum"],
        "users": sa.case((new.users > COURSE.c.users, new.users), else_=COURSE.c.users),
    }
    keys = list(COURSE.primary_key.columns)
    transaction.connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=grown))


@dataclass(frozen=True, slots=True)
class NamelessValues:
    """Values older than their tenant's `store_days` no longer name their user and conversation."""

    place: str = "observations_made_nameless"

    def forget(
        self, transaction: Transaction, policy: RetentionPolicy, now: datetime, most: int
    ) -> int:
        named = VALUES.c.user_id != ""
        return sum(
            int(
                transaction.connection.execute(
                    VALUES.update().where(old, named).values(user_id="", conversation_id="")
                ).rowcount
            )
            for old in _over_their_time(policy, now)
        )


def _over_their_time(policy: RetentionPolicy, now: datetime) -> Iterator[sa.ColumnElement[bool]]:
    """Values past their time: first of tenants with their own rule, then of all others."""
    rules = [(VALUES.c.tenant == one, policy.of(one).store_days) for one in policy.tenants]
    others = VALUES.c.tenant.not_in(policy.tenants) if policy.tenants else sa.true()
    for of_tenant, days in (*rules, (others, policy.everybody.store_days)):
        if days:
            yield of_tenant & (VALUES.c.time < (now - timedelta(days=days)).timestamp())


@dataclass(frozen=True, slots=True)
class IdleStreams:
    """A stream that received nothing for its tenant's `store_days` is removed with everything it kept: its
    version no longer serves. If the version comes back, the stream learns a new reference."""

    place: str = "streams"

    def forget(
        self, transaction: Transaction, policy: RetentionPolicy, now: datetime, most: int
    ) -> int:
        seen = sa.select(*(STREAMS.c[name] for name in KEY), STREAMS.c.seen_at)
        gone = 0
        for row in transaction.connection.execute(seen).all():
            days = policy.of(row.tenant).store_days
            if not days or row.seen_at >= (now - timedelta(days=days)).timestamp():
                continue
            for table in (VALUES, VECTORS, STREAMS):
                theirs = sa.and_(*(table.c[name] == getattr(row, name) for name in KEY))
                transaction.connection.execute(table.delete().where(theirs))
            gone += 1
        return gone


@dataclass(frozen=True, slots=True)
class TestedConversations:
    """Which conversations were tested is remembered for this many days, as hashes without ids."""

    days: int
    place: str = "tested_conversations"

    def forget(
        self, transaction: Transaction, policy: RetentionPolicy, now: datetime, most: int
    ) -> int:
        before = int(now.timestamp()) // DAY_S - self.days
        oldest = sa.select(TESTED.c.unit).where(TESTED.c.day < before).limit(most)
        delete = TESTED.delete().where(TESTED.c.unit.in_(oldest))
        return int(transaction.connection.execute(delete).rowcount)


def aging(detail_s: float, unit_days: int) -> list[Aging]:
    return [
        SummedBuckets(detail_s),
        AgedRows("course", COURSE, sa.type_coerce(COURSE.c.start, sa.Float)),
        AgedRows("alarms", ALARMS, ALARMS.c.created),
        NamelessValues(),
        IdleStreams(),
        TestedConversations(unit_days),
    ]
