"""Conducts an erasure from the request to the complete audit record, as a chain of durable jobs.

    close     the user's keys are closed: from now on nobody opens what they sealed
    ask       after twice the time that caches may be old: every service is told to remove
    (reports  come in on a topic; all in: the second round is asked for, then:)
    destroy   the keys are destroyed
    complete  after the caches' time once more: the audit forgets the user, the operation is done

Each step ends in one transaction that begins the next, so a kill -9 repeats a step and skips none.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC

import sqlalchemy as sa

from services.interaction.adapters.tables import CONVERSATIONS, TURNS
from services.interaction.users.audit import (
    Audit,
    Report,
    add_audit,
    add_report,
    change_audit,
    read_audit,
    running,
)
from services.interaction.users.codec import encode_audit
from shared.gen.trimtab.common.v1 import common_pb2
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.interaction.v1 import user_data_pb2 as pb
from shared.language.errors import InvalidArgument
from shared.language.identifiers import conversation_name, stable_id, user_name
from shared.language.topics import USER_ERASURE_REPORTED
from shared.log.events import EventLog, Record
from shared.privacy.erasure import Erasure, Scrubbed, requested_event
from shared.state import operations
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker, enqueue
from shared.state.stage import SqlStage
from shared.vault.keyring import CachedKeyring

_log = logging.getLogger(__name__)
STAGE = "interaction.audit"
JOB = "erasure.conduct"
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Conductor:
    """`services`: who is to report before an erasure is complete."""

    database: Database
    log: EventLog
    keyring: CachedKeyring
    services: Sequence[str]
    clock: Callable[[], float] = time.time

    def subject(self, tenant: str, user_id: str) -> str:
        """What the audit knows the user by; another hash than the keys are found by."""
        return self.keyring.keyring.pseudonym(f"audit/{user_name(tenant, user_id)}")

    def start(self, tenant: str, user_id: str, actor: str, request_id: str) -> str:
        """The operation's name: of the erasure that is under way for the user, of the one that was
        asked for with this request id, or of a new one."""
        subject = self.subject(tenant, user_id)
        erasure = stable_id("erasure", tenant, request_id or uuid.uuid4().hex)
        with self.database.begin() as transaction:
            known = read_audit(transaction.connection, erasure)
            if known is not None and known.subject != subject:
                raise InvalidArgument(
                    "request_id was used for another user's erasure", field="request_id"
                )
            under_way = running(transaction.connection, tenant, subject)
            if known is None and under_way is None:
                self._begin(transaction, erasure, tenant, subject, user_id, actor)
            return operation_name(under_way or erasure)

    def stage(self) -> SqlStage:
        """Takes the reports."""
        return SqlStage(STAGE, self.database, self.log, (USER_ERASURE_REPORTED,), self._reported)

    def worker(self) -> Worker:
        return Worker(self.database, JOB, self._perform, self._abandon, max_attempts=1_000_000)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        return {STAGE: (USER_ERASURE_REPORTED,)}

    def background(self) -> list[tuple[str, Callable[[threading.Event], None]]]:
        return [(STAGE, self.stage().run), (JOB, Scrubbed(self.database, self.worker()).run)]

    def _begin(
        self,
        transaction: Transaction,
        erasure: str,
        tenant: str,
        subject: str,
        user_id: str,
        actor: str,
    ) -> None:
        audit = Audit(
            erasure=erasure,
            tenant=tenant,
            subject=subject,
            actor=actor,
            created=self.clock(),
            ended=0.0,
            round=1,
            services=tuple(self.services),
            keys_destroyed=0,
            user_id=user_id,
            conversation_ids=(),
            key_ids=(),
        )
        add_audit(transaction, audit)
        metadata = pb.EraseUserMetadata(erasure=encode_audit(audit))
        operations.begin(transaction, operation_name(erasure), metadata, tenant=tenant)
        _next(transaction, audit, "close")

    def _perform(self, job: Job) -> Finish:
        with self.database.read() as connection:
            audit = read_audit(connection, str(job.payload["erasure"]))
        if audit is None:
            raise RuntimeError(f"{job.id} belongs to no erasure")
        match job.payload["step"]:
            case "close":
                return self._close(audit)
            case "ask":
                return lambda transaction: self._ask(audit, transaction)
            case "destroy":
                return self._destroy(audit)
        return lambda transaction: self._complete(audit, transaction)

    def _close(self, audit: Audit) -> Finish:
        """The user's own key is made if there is none: what is still on its way is sealed with it."""
        user = user_name(audit.tenant, audit.user_id)
        self.keyring.keyring.of_owners([user], self.clock())
        with self.database.read() as connection:
            owners = [user, *_targets(connection, audit)]
        ids = sorted(self.keyring.keyring.close(owners))

        def finish(transaction: Transaction) -> None:
            changed = change_audit(transaction, audit.erasure, key_ids=ids)
            _next(transaction, changed, "ask", 2 * self.keyring.ttl_s)

        return finish

    def _ask(self, audit: Audit, transaction: Transaction) -> None:
        found = _conversations(transaction.connection, audit) | set(audit.conversation_ids)
        conversations = tuple(sorted(found))
        change_audit(transaction, audit.erasure, conversation_ids=list(conversations))
        asked = Erasure(audit.erasure, audit.tenant, audit.user_id, conversations, audit.round)
        transaction.emit(requested_event(asked, erasure_name(audit.erasure)))

    def _reported(self, record: Record, transaction: Transaction) -> None:
        message = events_pb2.UserErasureReported.FromString(record.event.value)
        audit = read_audit(transaction.connection, message.erasure)
        if audit is None:
            raise InvalidArgument("the report belongs to no erasure", reason="UNKNOWN_ERASURE")
        if message.service not in audit.waiting_for or message.round != audit.round:
            transaction.count(STAGE, "abstained", "NOT_WAITED_FOR")
            return
        report = Report(
            message.service,
            message.round,
            {removal.place: removal.count for removal in message.removals},
            tuple(message.model_versions),
            message.create_time.ToDatetime(UTC).timestamp(),
        )
        add_report(transaction, audit.erasure, report)
        transaction.count(STAGE, "made")
        self._go_on(transaction, audit.erasure)

    def _go_on(self, transaction: Transaction, erasure: str) -> None:
        """All have reported: the next round, or the end."""
        audit = read_audit(transaction.connection, erasure)
        if audit is None:
            return
        if not audit.waiting_for:
            if audit.round < ROUNDS:
                audit = change_audit(transaction, erasure, round=audit.round + 1)
                _next(transaction, audit, "ask")
            else:
                _next(transaction, audit, "destroy")
        metadata = pb.EraseUserMetadata(erasure=encode_audit(audit))
        operations.progress(transaction, operation_name(erasure), metadata)

    def _destroy(self, audit: Audit) -> Finish:
        ring, now = self.keyring.keyring, self.clock()
        ring.destroy(audit.key_ids, now)
        request_key = ring.of_owners([erasure_name(audit.erasure)], now)
        ring.destroy([key.id for key in request_key.values()], now)
        self.keyring.forget()
        destroyed = len(audit.key_ids)

        def finish(transaction: Transaction) -> None:
            changed = change_audit(transaction, audit.erasure, keys_destroyed=destroyed)
            _next(transaction, changed, "complete", self.keyring.ttl_s)

        return finish

    def _complete(self, audit: Audit, transaction: Transaction) -> None:
        ended = change_audit(
            transaction,
            audit.erasure,
            ended=self.clock(),
            user_id="",
            conversation_ids=[],
            key_ids=[],
        )
        response = pb.EraseUserResponse(erasure=encode_audit(ended))
        metadata = pb.EraseUserMetadata(erasure=encode_audit(ended))
        operations.progress(transaction, operation_name(audit.erasure), metadata)
        operations.succeed(transaction, operation_name(audit.erasure), response)

    def _abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        raise RuntimeError("an erasure is never given up") from error


def operation_name(erasure: str) -> str:
    return f"operations/erase-{erasure}"


def erasure_name(erasure: str) -> str:
    return f"erasures/{erasure}"


def _next(transaction: Transaction, audit: Audit, step: str, delay_s: float = 0.0) -> None:
    job_id = f"{JOB}:{audit.erasure}:{step}:{audit.round}"
    enqueue(transaction, JOB, job_id, {"erasure": audit.erasure, "step": step}, delay_s)


def _conversations(connection: sa.Connection, audit: Audit) -> set[str]:
    """In which the user took part."""
    found: set[str] = set()
    for table in (TURNS, CONVERSATIONS):
        theirs = (table.c.tenant == audit.tenant) & (table.c.user_id == audit.user_id)
        query = sa.select(table.c.conversation_id).where(theirs).distinct()
        found |= set(connection.execute(query).scalars())
    return found


def _targets(connection: sa.Connection, audit: Audit) -> set[str]:
    """What feedback that names no user may be about: it was sealed with a key of these."""
    targets = {conversation_name(audit.tenant, one) for one in _conversations(connection, audit)}
    theirs = (TURNS.c.tenant == audit.tenant) & (TURNS.c.user_id == audit.user_id)
    for body in connection.execute(sa.select(TURNS.c.body).where(theirs)).scalars():
        if completion := common_pb2.Turn.FromString(body).completion_id:
            targets.add(f"tenants/{audit.tenant}/completions/{completion}")
    return targets
