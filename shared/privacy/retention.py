"""Removal by age: rows in every service's database are removed when their tenant's retention period is over.

A service says which of its rows age and by which column (AgedRows), as it does for erasures; the kernel's own
(ids of seen events, operations, refused events) are always among them. Rows are removed in small transactions,
so that nobody waits long for one; how many were removed is counted by place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import sqlalchemy as sa

from shared.language.retention import RetentionPolicy
from shared.state.database import Database, Transaction
from shared.state.outbox import drop_refused_before
from shared.state.queries import distinct_of
from shared.state.tables import OPERATIONS, SEEN, SEEN_MARKS

STAGE = "retention"
# How many rows of a table are removed in one transaction; the pause before the next one, and between rounds
# that found nothing more, in seconds.
_BATCH, _PAUSE_S, _EVERY_S = 2_000, 0.05, 300.0
# The distance of marks in the ids of events, which are removed by whole spans between marks, in seconds.
_MARK_EVERY_S = 3600.0


class Aging(Protocol):
    """A store whose contents expire by age."""

    @property
    def place(self) -> str:
        """Its name in counts and audits."""

    def forget(
        self, transaction: Transaction, policy: RetentionPolicy, now: datetime, most: int
    ) -> int:
        """Removes up to `most` expired items, the oldest first; returns how many."""


@dataclass(frozen=True, slots=True)
class AgedRows:
    """Rows of a table that expire `store_days` after `time`: a column of Unix time in seconds, in microseconds
    if `in_microseconds`. Give it an index: it is searched by time, for tenants with a rule of their own by
    tenant and time, or, with `by_tenant`, by tenant and time for each. A table without a column `tenant`
    follows the rule for everybody. `only`: which of the rows. `after` is called with the removed rows, within
    the transaction: for sums that are stored beside them."""

    place: str
    table: sa.Table
    time: sa.ColumnElement[float] | sa.ColumnElement[int]
    in_microseconds: bool = False
    only: sa.ColumnElement[bool] | None = None
    after: Callable[[Transaction, Sequence[Any]], None] | None = None
    by_tenant: bool = False

    def forget(
        self, transaction: Transaction, policy: RetentionPolicy, now: datetime, most: int
    ) -> int:
        gone = 0
        for tenants, days in self._rules(transaction, policy):
            if days and gone < most:
                before = (now - timedelta(days=days)).timestamp()
                gone += self._delete(transaction, self._condition(tenants, before), most - gone)
        return gone

    def _rules(
        self, transaction: Transaction, policy: RetentionPolicy
    ) -> list[tuple[_Tenants, int]]:
        if not self.by_tenant:
            return _rules(policy, has_tenants="tenant" in self.table.c)
        found = transaction.connection.execute(distinct_of(self.table.c.tenant)).scalars()
        return [(_Tenants(only=tenant), policy.of(tenant).store_days) for tenant in found]

    def _condition(self, tenants: _Tenants, before_s: float) -> sa.ColumnElement[bool]:
        before = int(before_s * 1_000_000) if self.in_microseconds else before_s
        condition: sa.ColumnElement[bool] = self.time < before
        if tenants.only is not None:
            condition &= self.table.c.tenant == tenants.only
        elif tenants.without:
            condition &= self.table.c.tenant.not_in(tenants.without)
        return condition if self.only is None else condition & self.only

    def _delete(
        self, transaction: Transaction, condition: sa.ColumnElement[bool], most: int
    ) -> int:
        key = list(self.table.primary_key.columns)
        oldest = sa.select(*key).where(condition).order_by(self.time).limit(most)
        of_key = key[0].in_(oldest) if len(key) == 1 else sa.tuple_(*key).in_(oldest)
        delete = self.table.delete().where(of_key)
        if self.after is None:
            return int(transaction.connection.execute(delete).rowcount)
        rows = transaction.connection.execute(delete.returning(*self.table.c)).all()
        self.after(transaction, rows)
        return len(rows)


@dataclass(frozen=True, slots=True)
class _Tenants:
    """One tenant, or all but some."""

    only: str | None = None
    without: tuple[str, ...] = ()


def _rules(policy: RetentionPolicy, *, has_tenants: bool) -> list[tuple[_Tenants, int]]:
    everybody = policy.everybody.store_days
    if not has_tenants:
        return [(_Tenants(), everybody)]
    own = [(_Tenants(only=tenant), policy.of(tenant).store_days) for tenant in policy.tenants]
    return [*own, (_Tenants(without=policy.tenants), everybody)]


@dataclass(frozen=True, slots=True)
class SeenEvents:
    """Ids of events that were taken. They expire after `days`, for every tenant: an event comes again if its
    producer was killed before it knew that Kafka had it, and that is soon. A stage's own state recognises what
    comes later."""

    days: float
    place: str = "seen_events"

    def forget(
        self, transaction: Transaction, policy: RetentionPolicy, now: datetime, most: int
    ) -> int:
        self._mark(transaction, now.timestamp())
        before = now.timestamp() - self.days * 86_400
        marks = sa.select(sa.func.max(SEEN_MARKS.c.seq)).where(SEEN_MARKS.c.time < before)
        last = transaction.connection.execute(marks).scalar_one()
        if last is None:
            return 0
        oldest = sa.select(SEEN.c.seq).where(SEEN.c.seq <= last).order_by(SEEN.c.seq).limit(most)
        gone = transaction.connection.execute(SEEN.delete().where(SEEN.c.seq.in_(oldest))).rowcount
        if gone < most:
            transaction.connection.execute(SEEN_MARKS.delete().where(SEEN_MARKS.c.time < before))
        return int(gone)

    @staticmethod
    def _mark(transaction: Transaction, now: float) -> None:
        newest = sa.select(sa.func.max(SEEN_MARKS.c.time))
        marked = transaction.connection.execute(newest).scalar_one()
        if marked is not None and now - marked < _MARK_EVERY_S:
            return
        last = transaction.connection.execute(sa.select(sa.func.max(SEEN.c.seq))).scalar_one()
        if last is not None:
            insert = transaction.insert(SEEN_MARKS).values(time=now, seq=last)
            transaction.connection.execute(insert.on_conflict_do_nothing())


@dataclass(frozen=True, slots=True)
class RefusedEvents:
    """Events that Kafka will never accept. They expire as on a topic: after `days`, for every tenant; 0 keeps
    them forever."""

    days: float
    place: str = "outbox"

    def forget(
        self, transaction: Transaction, policy: RetentionPolicy, now: datetime, most: int
    ) -> int:
        if not self.days:
            return 0
        return drop_refused_before(transaction, now - timedelta(days=self.days), most)


class Retention:
    """Removes what has expired, one place after the other. `clock` tells the current time."""

    def __init__(
        self,
        database: Database,
        aging: Sequence[Aging],
        policy: RetentionPolicy,
        clock: Callable[[], datetime],
        seen_days: float,
        topic_days: float = 30.0,
    ) -> None:
        kernel = (
            SeenEvents(seen_days),
            AgedRows("operations", OPERATIONS, OPERATIONS.c.created, by_tenant=True),
            RefusedEvents(topic_days),
        )
        self._database, self._policy, self._clock = database, policy, clock
        self._aging: Sequence[Aging] = (*aging, *kernel)
        self._more = False

    def once(self) -> int:
        """Removes a batch from each place; returns how many rows. More may be left. Raises the first error of a
        place once all were tried."""
        gone, errors = [], []
        for one in self._aging:
            try:
                gone.append(self._forget(one))
            except Exception as error:  # noqa: BLE001 - raised below; one place must not keep the others full
                errors.append(error)
        self._more = any(count >= _BATCH for count in gone)
        if errors:
            raise errors[0]
        return sum(gone)

    def rest_s(self) -> float:
        return _PAUSE_S if self._more else _EVERY_S

    def _forget(self, one: Aging) -> int:
        with self._database.begin() as transaction:
            gone = one.forget(transaction, self._policy, self._clock(), _BATCH)
            if gone:
                transaction.count(STAGE, "taken", n=gone)
                transaction.count(STAGE, "made", one.place, gone)
        return gone
