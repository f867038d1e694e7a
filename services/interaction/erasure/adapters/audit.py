"""The audit of erasures in SQL: who asked, when, what was removed where, who is still waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from services.interaction.erasure.codec import encode_audit
from services.interaction.erasure.domain import Audit, Report, Step, erasure_name, operation_name
from services.interaction.erasure.jobs import JOB
from services.interaction.tables import CONVERSATIONS, ERASURE_REPORTS, ERASURES, TURNS
from shared.gen.trimtab.interaction.v1 import user_data_pb2 as pb
from shared.language.errors import NotFound
from shared.privacy.erasure import Erasure, requested_event
from shared.state import operations
from shared.state.database import Database, Transaction
from shared.state.jobs import enqueue


class SqlErasureState:
    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def begin(self) -> Iterator[SqlErasureWriter]:
        with self._database.begin() as transaction:
            yield SqlErasureWriter(transaction)

    def find(self, erasure: str) -> Audit | None:
        with self._database.read() as connection:
            return _audit(connection, erasure)

    def get(self, tenant: str, erasure: str) -> Audit:
        found = self.find(erasure)
        if found is None or found.tenant != tenant:
            raise NotFound(f"there is no erasure {erasure!r}", field="name")
        return found

    def page(
        self, tenant: str, subject: str, before: tuple[float, str] | None, size: int
    ) -> list[Audit]:
        place = sa.tuple_(ERASURES.c.created, ERASURES.c.erasure)
        query = sa.select(ERASURES.c.erasure).where(ERASURES.c.tenant == tenant)
        if subject:
            query = query.where(ERASURES.c.subject == subject)
        if before is not None:
            query = query.where(place < sa.tuple_(*map(sa.literal, before)))
        query = query.order_by(ERASURES.c.created.desc(), ERASURES.c.erasure.desc()).limit(size)
        with self._database.read() as connection:
            names = connection.execute(query).scalars().all()
            found = [_audit(connection, name) for name in names]
        return [audit for audit in found if audit is not None]


class SqlErasureWriter:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def find(self, erasure: str) -> Audit | None:
        return _audit(self._transaction.connection, erasure)

    def running(self, tenant: str, subject: str) -> str | None:
        query = sa.select(ERASURES.c.erasure).where(
            ERASURES.c.tenant == tenant, ERASURES.c.subject == subject, ERASURES.c.ended == 0
        )
        return self._transaction.connection.execute(query).scalar()

    def add(self, audit: Audit) -> None:
        values = {name: getattr(audit, name) for name in ERASURES.c.keys()}  # noqa: SIM118
        lists = {name: list(values[name]) for name in ("services", "conversation_ids", "key_ids")}
        self._transaction.connection.execute(ERASURES.insert().values(values | lists))
        metadata = pb.EraseUserMetadata(erasure=encode_audit(audit))
        operations.begin(
            self._transaction, operation_name(audit.erasure), metadata, tenant=audit.tenant
        )

    def change(self, erasure: str, **changes: Any) -> Audit:
        mine = ERASURES.c.erasure == erasure
        self._transaction.connection.execute(ERASURES.update().where(mine).values(changes))
        changed = self.find(erasure)
        if changed is None:
            raise NotFound(f"there is no erasure {erasure!r}", field="name")
        return changed

    def add_report(self, erasure: str, report: Report) -> None:
        insert = self._transaction.insert(ERASURE_REPORTS).values(
            erasure=erasure,
            round=report.round,
            service=report.service,
            removals=dict(report.removals),
            model_versions=list(report.model_versions),
            created=report.created,
        )
        self._transaction.connection.execute(insert.on_conflict_do_nothing())

    def begin(self, audit: Audit, step: Step, delay_s: float = 0.0) -> None:
        job_id = f"{JOB}:{audit.erasure}:{step}:{audit.round}"
        payload = {"erasure": audit.erasure, "step": step.value}
        enqueue(self._transaction, JOB, job_id, payload, delay_s)

    def ask(self, audit: Audit) -> None:
        found = conversations_of(self._transaction.connection, audit)
        conversations = tuple(sorted(found | set(audit.conversation_ids)))
        self.change(audit.erasure, conversation_ids=list(conversations))
        asked = Erasure(audit.erasure, audit.tenant, audit.user_id, conversations, audit.round)
        self._transaction.emit(requested_event(asked, erasure_name(audit.erasure)))

    def show(self, audit: Audit) -> None:
        name, encoded = operation_name(audit.erasure), encode_audit(audit)
        operations.progress(self._transaction, name, pb.EraseUserMetadata(erasure=encoded))
        if audit.ended:
            operations.succeed(self._transaction, name, pb.EraseUserResponse(erasure=encoded))


def conversations_of(connection: sa.Connection, audit: Audit) -> set[str]:
    """In which the user took part."""
    found: set[str] = set()
    for table in (TURNS, CONVERSATIONS):
        theirs = (table.c.tenant == audit.tenant) & (table.c.user_id == audit.user_id)
        query = sa.select(table.c.conversation_id).where(theirs).distinct()
        found |= set(connection.execute(query).scalars())
    return found


def _audit(connection: sa.Connection, erasure: str) -> Audit | None:
    row = connection.execute(sa.select(ERASURES).where(ERASURES.c.erasure == erasure)).first()
    if row is None:
        return None
    query = sa.select(ERASURE_REPORTS).where(ERASURE_REPORTS.c.erasure == erasure)
    reports = connection.execute(
        query.order_by(ERASURE_REPORTS.c.round, ERASURE_REPORTS.c.service)
    ).all()
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


def _report(row: Any) -> Report:
    return Report(row.service, row.round, row.removals, tuple(row.model_versions), row.created)
