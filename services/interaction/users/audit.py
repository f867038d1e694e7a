"""The audit of erasures in SQL: who asked, when, what was removed where, who is still waited for.

A row knows the user's id and conversations only while its erasure is under way; what stays is a keyed
hash, by which "was this user erased?" can be answered by whoever has the keyring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from shared.language.errors import NotFound
from shared.state.database import Database, Transaction

TABLES = sa.MetaData()

ERASURES = sa.Table(
    "erasures",
    TABLES,
    sa.Column("erasure", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    # 0 while it is under way.
    sa.Column("ended", sa.Float, nullable=False, server_default="0"),
    sa.Column("round", sa.Integer, nullable=False),
    # Who is to report.
    sa.Column("services", sa.JSON, nullable=False),
    sa.Column("keys_destroyed", sa.Integer, nullable=False, server_default="0"),
    # While it is under way: the user, their conversations, the keys that were closed.
    sa.Column("user_id", sa.String, nullable=False),
    sa.Column("conversation_ids", sa.JSON, nullable=False),
    sa.Column("key_ids", sa.JSON, nullable=False),
    sa.Index("erasures_by_subject", "tenant", "subject", "created"),
    sa.Index("erasures_by_time", "tenant", "created", "erasure"),
)
REPORTS = sa.Table(
    "erasure_reports",
    TABLES,
    sa.Column("erasure", sa.String, primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("service", sa.String, primary_key=True),
    sa.Column("removals", sa.JSON, nullable=False),
    sa.Column("model_versions", sa.JSON, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Report:
    """Of one service in one round. `removals`: how much, by place."""

    service: str
    round: int
    removals: Mapping[str, int]
    model_versions: Sequence[str]
    created: float


@dataclass(frozen=True, slots=True)
class Audit:
    """One erasure. Times are Unix times; `ended` is 0 while it is under way."""

    erasure: str
    tenant: str
    subject: str
    actor: str
    created: float
    ended: float
    round: int
    services: tuple[str, ...]
    keys_destroyed: int
    user_id: str
    conversation_ids: tuple[str, ...]
    key_ids: tuple[str, ...]
    reports: tuple[Report, ...] = ()

    @property
    def waiting_for(self) -> list[str]:
        """Who has not reported the round under way."""
        reported = {report.service for report in self.reports if report.round == self.round}
        return [] if self.ended else [name for name in self.services if name not in reported]

    @property
    def model_versions(self) -> list[str]:
        return sorted({version for report in self.reports for version in report.model_versions})


class SqlAudit:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, tenant: str, erasure: str) -> Audit:
        """Raises NotFound, also for another tenant's."""
        with self._database.read() as connection:
            found = read_audit(connection, erasure)
        if found is None or found.tenant != tenant:
            raise NotFound(f"there is no erasure {erasure!r}", field="name")
        return found

    def page(
        self, tenant: str, subject: str, before: tuple[float, str] | None, size: int
    ) -> list[Audit]:
        """Newest first, only of `subject` unless it is empty; `before` is the last one's
        (created, erasure)."""
        place = sa.tuple_(ERASURES.c.created, ERASURES.c.erasure)
        query = sa.select(ERASURES.c.erasure).where(ERASURES.c.tenant == tenant)
        if subject:
            query = query.where(ERASURES.c.subject == subject)
        if before is not None:
            query = query.where(place < sa.tuple_(*map(sa.literal, before)))
        query = query.order_by(ERASURES.c.created.desc(), ERASURES.c.erasure.desc()).limit(size)
        with self._database.read() as connection:
            names = connection.execute(query).scalars().all()
            found = [read_audit(connection, name) for name in names]
        return [audit for audit in found if audit is not None]


def read_audit(connection: sa.Connection, erasure: str) -> Audit | None:
    row = connection.execute(sa.select(ERASURES).where(ERASURES.c.erasure == erasure)).first()
    if row is None:
        return None
    query = sa.select(REPORTS).where(REPORTS.c.erasure == erasure)
    reports = connection.execute(query.order_by(REPORTS.c.round, REPORTS.c.service)).all()
    return Audit(
        erasure=row.erasure,
        tenant=row.tenant,
        subject=row.subject,
        actor=row.actor,
        created=row.created,
        ended=row.ended,
        round=row.round,
        services=tuple(row.services),
        keys_destroyed=row.keys_destroyed,
        user_id=row.user_id,
        conversation_ids=tuple(row.conversation_ids),
        key_ids=tuple(row.key_ids),
        reports=tuple(_report(report) for report in reports),
    )


def running(connection: sa.Connection, tenant: str, subject: str) -> str | None:
    """The erasure of the subject that is under way, if one is."""
    query = sa.select(ERASURES.c.erasure).where(
        ERASURES.c.tenant == tenant, ERASURES.c.subject == subject, ERASURES.c.ended == 0
    )
    return connection.execute(query).scalar()


def add_audit(transaction: Transaction, audit: Audit) -> None:
    values = {name: getattr(audit, name) for name in ERASURES.c.keys()}  # noqa: SIM118
    lists = {name: list(values[name]) for name in ("services", "conversation_ids", "key_ids")}
    transaction.connection.execute(ERASURES.insert().values(values | lists))


def change_audit(transaction: Transaction, erasure: str, **changes: Any) -> Audit:
    mine = ERASURES.c.erasure == erasure
    transaction.connection.execute(ERASURES.update().where(mine).values(changes))
    changed = read_audit(transaction.connection, erasure)
    if changed is None:
        raise NotFound(f"there is no erasure {erasure!r}", field="name")
    return changed


def add_report(transaction: Transaction, erasure: str, report: Report) -> None:
    """A service's first report of a round stands."""
    insert = transaction.insert(REPORTS).values(
        erasure=erasure,
        round=report.round,
        service=report.service,
        removals=dict(report.removals),
        model_versions=list(report.model_versions),
        created=report.created,
    )
    transaction.connection.execute(insert.on_conflict_do_nothing())


def _report(row: Any) -> Report:
    return Report(row.service, row.round, row.removals, tuple(row.model_versions), row.created)
