"""Memberships and MembershipReads on SQL (contracts in people.ports)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from services.reward.people.codec import membership_event, read_membership, write_membership
from services.reward.people.domain import (
    Declared,
    Division,
    Learnt,
    Said,
    Standing,
    Taste,
)
from services.reward.people.ports import Page
from services.reward.tables import (
    DIVISIONS,
    DUE,
    JUDGEMENTS,
    MEMBERS,
    MEMBERSHIP_VERSIONS,
    MEMBERSHIPS,
    PAIRS,
    RATINGS,
)
from shared.language.batches import batches
from shared.language.groups import UNKNOWN, Membership
from shared.language.times import now
from shared.state.database import Database, Transaction
from shared.state.queries import distinct_of

MOST_COUNTED = 10_000
# What is kept is touched at most so often.
_TOUCHES = timedelta(days=1)


class SqlMemberships:
    """Memberships within one transaction."""

    def __init__(self, transaction: Transaction, clock: Callable[[], datetime] = now) -> None:
        self._transaction, self._connection = transaction, transaction.connection
        self._clock = clock

    def get(self, tenant: str, user_id: str) -> Standing | None:
        row = self._connection.execute(sa.select(MEMBERSHIPS).where(_of(tenant, user_id))).first()
        return None if row is None else _standing(row)

    def put(self, standing: Standing, membership: Membership) -> None:
        whose = {"tenant": membership.tenant, "user_id": membership.user_id}
        value, kept_at = write_membership(membership), self._clock().timestamp()
        learnt = standing.learnt.group
        row = {
            "version": membership.version,
            "value": value,
            "learnt_group": "" if learnt == UNKNOWN else learnt,
            "declared": _declared_json(standing.declared),
            "said": _said_json(standing.said),
            "kept_at": kept_at,
        }
        self._upsert(MEMBERSHIPS, whose, row)
        if membership.version == standing.membership.version:
            return
        version = {**whose, "version": membership.version}
        self._upsert(MEMBERSHIP_VERSIONS, version, {"value": value, "kept_at": kept_at})
        self._list(membership)
        self._transaction.emit(membership_event(membership))

    def touch(self, tenant: str, user_id: str) -> None:
        at = self._clock()
        old = MEMBERSHIPS.c.kept_at < (at - _TOUCHES).timestamp()
        touched = MEMBERSHIPS.update().where(_of(tenant, user_id), old)
        self._connection.execute(touched.values(kept_at=at.timestamp()))

    def division(self, tenant: str) -> Division:
        return _division(self._connection, tenant)

    def divide(self, tenant: str, division: Division) -> None:
        groups = [
            {"name": one.name, "prefers": [list(p) for p in one.prefers]} for one in division.tastes
        ]
        row = {"reward_model": division.reward_model, "groups": groups}
        self._upsert(DIVISIONS, {"tenant": tenant}, row)

    def mark_due(self, tenant: str, user_ids: Iterable[str]) -> None:
        rows = [{"tenant": tenant, "user_id": user_id, "mark": 1} for user_id in user_ids]
        if rows:
            again = {"mark": DUE.c.mark + 1}
            insert = self._transaction.insert(DUE)
            self._connection.execute(
                insert.on_conflict_do_update(index_elements=["tenant", "user_id"], set_=again), rows
            )

    def take_due(self, tenant: str, marks: Mapping[str, int]) -> None:
        for user_id, mark in marks.items():
            mine = (DUE.c.tenant == tenant) & (DUE.c.user_id == user_id)
            self._connection.execute(DUE.delete().where(mine, DUE.c.mark == mark))

    def count(self, stage: str, outcome: str, reason: str = "", n: int = 1) -> None:
        self._transaction.count(stage, outcome, reason, n)

    def _list(self, membership: Membership) -> None:
        mine = (MEMBERS.c.tenant == membership.tenant) & (MEMBERS.c.user_id == membership.user_id)
        self._connection.execute(MEMBERS.delete().where(mine))
        if membership.groups:
            self._connection.execute(
                MEMBERS.insert(),
                [
                    {"tenant": membership.tenant, "user_id": membership.user_id, "name": name}
                    for name in membership.groups
                ],
            )

    def _upsert(self, table: sa.Table, key: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        insert = self._transaction.insert(table).values({**key, **row})
        self._connection.execute(
            insert.on_conflict_do_update(index_elements=list(key), set_=dict(row))
        )


class SqlMembershipReads:
    """MembershipReads. Every method raises Unavailable while the database is unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, tenant: str, user_id: str) -> Membership | None:
        query = sa.select(MEMBERSHIPS.c.value).where(_of(tenant, user_id))
        with self._database.read() as connection:
            value = connection.execute(query).scalar()
        return None if value is None else read_membership(value)

    def groups_of(self, tenant: str, user_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        found = {}
        with self._database.read() as connection:
            for some in batches(sorted(set(user_ids))):
                theirs = (MEMBERSHIPS.c.tenant == tenant) & MEMBERSHIPS.c.user_id.in_(some)
                query = sa.select(MEMBERSHIPS.c.user_id, MEMBERSHIPS.c.value).where(theirs)
                for row in connection.execute(query):
                    found[row.user_id] = read_membership(row.value).groups
        return found

    def page(self, tenant: str, group: str, after: str, size: int) -> Page:
        theirs: sa.ColumnElement[bool] = MEMBERSHIPS.c.tenant == tenant
        if group:
            is_member: sa.ColumnElement[bool] = (MEMBERS.c.tenant == tenant) & (
                MEMBERS.c.name == group
            )
            listed: sa.Table = MEMBERS
            some = sa.select(MEMBERS.c.user_id).where(is_member, MEMBERS.c.user_id > after)
            some = some.order_by(MEMBERS.c.user_id).limit(size + 1)
            query = sa.select(MEMBERSHIPS.c.value).where(theirs, MEMBERSHIPS.c.user_id.in_(some))
        else:
            is_member, listed = theirs, MEMBERSHIPS
            query = sa.select(MEMBERSHIPS.c.value).where(theirs, MEMBERSHIPS.c.user_id > after)
        query = query.order_by(MEMBERSHIPS.c.user_id).limit(size + 1)
        with self._database.read() as connection:
            total = _counted(connection, listed, is_member)
            rows = connection.execute(query).scalars().all()
        return Page([read_membership(value) for value in rows[:size]], len(rows) > size, total)

    def versions(self, tenant: str, user_id: str, below: int | None, size: int) -> Page:
        table = MEMBERSHIP_VERSIONS
        theirs = (table.c.tenant == tenant) & (table.c.user_id == user_id)
        query = sa.select(table.c.value).where(theirs).order_by(table.c.version.desc())
        if below is not None:
            query = query.where(table.c.version < below)
        with self._database.read() as connection:
            total = _counted(connection, table, theirs)
            rows = connection.execute(query.limit(size + 1)).scalars().all()
        return Page([read_membership(value) for value in rows[:size]], len(rows) > size, total)

    def division(self, tenant: str) -> Division:
        with self._database.read() as connection:
            return _division(connection, tenant)

    def due(self, most: int, after: str) -> tuple[str, dict[str, int]]:
        with self._database.read() as connection:
            tenants = connection.execute(distinct_of(DUE.c.tenant)).scalars().all()
            if not tenants:
                return "", {}
            tenant = min(tenants, key=lambda one: (one <= after, one))
            query = sa.select(DUE.c.user_id, DUE.c.mark).where(DUE.c.tenant == tenant)
            rows = connection.execute(query.order_by(DUE.c.user_id).limit(most))
            return tenant, {row.user_id: row.mark for row in rows}

    def waker(self) -> threading.Event:
        """Set whenever there is something new to learn of somebody."""
        return self._database.waker(DUE)

    def users_after(self, tenant: str, after: str, most: int) -> list[str]:
        found: set[str] = set()
        with self._database.read() as connection:
            for table in (MEMBERSHIPS, JUDGEMENTS, PAIRS, RATINGS):
                theirs = (table.c.tenant == tenant) & (table.c.user_id > after)
                query = sa.select(table.c.user_id).where(theirs).group_by(table.c.user_id)
                some = query.order_by(table.c.user_id).limit(most)
                found |= set(connection.execute(some).scalars())
        return sorted(found)[:most]

    def sizes(self, tenant: str) -> dict[str, int]:
        count = sa.func.count()
        query = sa.select(MEMBERS.c.name, count).where(MEMBERS.c.tenant == tenant)
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query.group_by(MEMBERS.c.name))}

    def learnt_groups(self, tenant: str, user_ids: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        with self._database.read() as connection:
            for some in batches(sorted(set(user_ids))):
                theirs = (MEMBERSHIPS.c.tenant == tenant) & MEMBERSHIPS.c.user_id.in_(some)
                learnt = MEMBERSHIPS.c.learnt_group
                query = sa.select(MEMBERSHIPS.c.user_id, learnt).where(theirs, learnt != "")
                found |= {row.user_id: row.learnt_group for row in connection.execute(query)}
        return found


def _of(tenant: str, user_id: str) -> sa.ColumnElement[bool]:
    return (MEMBERSHIPS.c.tenant == tenant) & (MEMBERSHIPS.c.user_id == user_id)


def _counted(connection: sa.Connection, table: sa.Table, wanted: sa.ColumnElement[bool]) -> int:
    """How many rows there are, up to MOST_COUNTED: a list costs the same however much there is."""
    some = sa.select(sa.literal(1)).select_from(table).where(wanted).limit(MOST_COUNTED)
    return connection.execute(sa.select(sa.func.count()).select_from(some.subquery())).scalar_one()


def _division(connection: sa.Connection, tenant: str) -> Division:
    row = connection.execute(sa.select(DIVISIONS).where(DIVISIONS.c.tenant == tenant)).first()
    if row is None:
        return Division()
    tastes = [
        Taste(one["name"], tuple((what, z) for what, z in one["prefers"])) for one in row.groups
    ]
    return Division(row.reward_model, tuple(tastes))


def _standing(row: Any) -> Standing:
    membership = read_membership(row.value)
    learnt = Learnt(membership.probabilities, membership.judgements, membership.evidence)
    declared = {
        key: Declared(value, datetime.fromtimestamp(time, UTC))
        for key, (value, time) in row.declared.items()
    }
    return Standing(membership, learnt, declared, Said(**row.said))


def _declared_json(declared: Mapping[str, Declared]) -> dict[str, Any]:
    return {key: [one.value, one.time.timestamp()] for key, one in declared.items()}


def _said_json(said: Said) -> dict[str, Any]:
    return {
        "group": said.group,
        "segments": dict(said.segments),
        "actor": said.actor,
        "reason": said.reason,
    }
