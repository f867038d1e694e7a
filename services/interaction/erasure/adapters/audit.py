"""The audit of erasures in SQL: who requested it and when, what was removed where, who has not reported yet."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from services.interaction.erasure.codec import encode_audit
from services.interaction.erasure.domain import (
    Audit,
    ErasureStep,
    Report,
    erasure_name,
    operation_name,
)
from services.interaction.erasure.jobs import JOB
from services.interaction.tables import (
    CONVERSATIONS,
    ERASURE_CONVERSATIONS,
    ERASURE_KEYS,
    ERASURE_REPORTS,
    ERASURES,
    TURNS,
)
from shared.gen.trimtab.interaction.v1 import user_data_pb2 as pb
from shared.language.errors import NotFound
from shared.privacy.erasure import Erasure, Requested, requested_event
from shared.state import operations
from shared.state.database import Database, Transaction
from shared.state.jobs import enqueue

# How many conversations one event names.
_A_PART = 5_000


class SqlErasureState:
    """The audit of erasures. Every method raises Unavailable while the database is unavailable."""

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
    """ErasureWriter within one transaction: the audit, the operation, the next step and the request change
    together or not at all."""

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
        values["services"] = list(audit.services)
        self._transaction.connection.execute(ERASURES.insert().values(values))
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

    def begin(self, audit: Audit, step: ErasureStep, delay_s: float = 0.0) -> None:
        job_id = f"{JOB}:{audit.erasure}:{step}:{audit.round}"
        payload = {"erasure": audit.erasure, "step": step.value}
        enqueue(self._transaction, JOB, job_id, payload, delay_s)

    def note_keys(self, erasure: str, key_ids: Collection[str]) -> None:
        rows = [{"erasure": erasure, "key_id": key_id} for key_id in sorted(key_ids)]
        if rows:
            insert = self._transaction.insert(ERASURE_KEYS).on_conflict_do_nothing()
            self._transaction.connection.execute(insert, rows)

    def ask(self, audit: Audit) -> None:
        """In parts, as a user may have taken part in more conversations than one event should name."""
        self._note_conversations(audit)
        mine = ERASURE_CONVERSATIONS.c.erasure == audit.erasure
        total = sa.select(sa.func.count()).select_from(ERASURE_CONVERSATIONS).where(mine)
        parts = max(1, -(-self._transaction.connection.execute(total).scalar_one() // _A_PART))
        after = ""
        for part in range(parts):
            ids = self._conversations_after(audit.erasure, after)
            after = ids[-1] if ids else after
            erasure = Erasure(audit.erasure, audit.tenant, audit.user_id, tuple(ids), audit.round)
            asked = Requested(erasure, part, parts)
            self._transaction.emit(requested_event(asked, erasure_name(audit.erasure)))

    def end(self, erasure: str, ended: float) -> Audit:
        for table in (ERASURE_CONVERSATIONS, ERASURE_KEYS):
            gone = table.delete().where(table.c.erasure == erasure)
            self._transaction.connection.execute(gone)
        return self.change(erasure, ended=ended, user_id="")

    def show(self, audit: Audit) -> None:
        name, encoded = operation_name(audit.erasure), encode_audit(audit)
        operations.progress(self._transaction, name, pb.EraseUserMetadata(erasure=encoded))
        if audit.ended:
            operations.succeed(self._transaction, name, pb.EraseUserResponse(erasure=encoded))

    def _note_conversations(self, audit: Audit) -> None:
        """Adds to those of the round before, whose turns are gone by now."""
        found = conversations_of(audit).subquery()
        rows = sa.select(sa.literal(audit.erasure), found.c.conversation_id).where(sa.true())
        columns = ["erasure", "conversation_id"]
        insert = self._transaction.insert(ERASURE_CONVERSATIONS).from_select(columns, rows)
        self._transaction.connection.execute(insert.on_conflict_do_nothing())

    def _conversations_after(self, erasure: str, after: str) -> list[str]:
        column = ERASURE_CONVERSATIONS.c.conversation_id
        mine = (ERASURE_CONVERSATIONS.c.erasure == erasure) & (column > after)
        query = sa.select(column).where(mine).order_by(column).limit(_A_PART)
        return list(self._transaction.connection.execute(query).scalars())


def conversations_of(audit: Audit) -> sa.Select[Any]:
    """The conversations in which the user took part."""
    of_user = [
        sa.select(table.c.conversation_id).where(
            table.c.tenant == audit.tenant, table.c.user_id == audit.user_id
        )
        for table in (TURNS, CONVERSATIONS)
    ]
    return sa.select(sa.union(*of_user).subquery().c.conversation_id)


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
        reports=tuple(_report(report) for report in reports),
    )


def _report(row: Any) -> Report:
    return Report(row.service, row.round, row.removals, tuple(row.model_versions), row.created)
