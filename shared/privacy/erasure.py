"""A service's part in erasing a user: requested on a topic, done as a durable job, reported on a topic.

Interaction publishes UserErasureRequested after the user's keys were closed: from then on no process can
open any of the user's data (shared.vault.keyring), so what is removed now does not come back. The request
comes in parts, as a user may have taken part in more conversations than one event should name. The stage
records each part, and enqueues the job once all have come. The job removes rows in one transaction, then what
is stored outside SQL, then empties SQLite's write-ahead log. Each step records how much was removed and
where, so that after a kill -9 the step is repeated but not counted again. The report is published with the
end of the job.

Erasures are requested in two rounds, the second once all services have reported the first: it removes what
was in transit between services meanwhile. Until then the user's closed key seals whatever is still made of
their data; then it is destroyed. What a user says after the audit record says COMPLETE is new data.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import sqlalchemy as sa

from shared.gen.trimtab.events.v1 import events_pb2 as pb
from shared.language.batches import IN_A_STATEMENT, batches
from shared.language.errors import Unavailable
from shared.language.identifiers import check_segment, stable_id, user_name
from shared.language.times import now
from shared.language.topics import USER_ERASURE_REPORTED, USER_ERASURE_REQUESTED
from shared.log.events import ERASED, Event, EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker, enqueue
from shared.state.loop import repeat
from shared.state.outbox import drop_refused
from shared.state.stage import SqlStage
from shared.state.tables import ERASURE_NOTES, JOBS, OUTBOX

JOB = "erasure"
_WAITING = "UNDER_WAY"
# The reason under which a part of a request is counted while it waits for the others.
_PART_OF_MANY = "PART_OF_MANY"
# Kinds of notes: how much was removed and where, model versions that had learnt from it, the user's
# conversations, and the parts of the request that have arrived.
_REMOVED, _LEARNT, _OF, _PART = "removed", "learnt", "conversation", "part"
# How soon to try again to empty the write-ahead log when a reader prevented it.
_SCRUBS_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Erasure:
    """Whose data is to be removed. `conversation_ids`: those in which the user took part."""

    erasure: str
    tenant: str
    user_id: str
    conversation_ids: tuple[str, ...] = ()
    # From 1; see the module's docstring.
    round: int = 1

    @property
    def name(self) -> str:
        """The name of this round."""
        return f"{self.erasure}.{self.round}"

    @property
    def owner(self) -> str:
        return user_name(self.tenant, self.user_id)


@dataclass(frozen=True, slots=True)
class Survey:
    """How much there is outside SQL, by place; and the model versions that had learnt from the user."""

    counts: Mapping[str, int] = field(default_factory=dict)
    model_versions: Sequence[str] = ()


class Remover(Protocol):
    """What a service does to erase a user. Every step may be repeated; one that raises is tried again."""

    def survey(self, erasure: Erasure) -> Survey:
        """Changes nothing. Called before anything is removed."""

    def remove_rows(self, erasure: Erasure, transaction: Transaction) -> Mapping[str, int]:
        """Removes what is in the service's database; returns how much, by place."""

    def remove_files(self, erasure: Erasure) -> None:
        """Removes what is stored elsewhere. Raises Postpone if it has to wait for something."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a table that hold a user's data."""

    place: str
    table: sa.Table
    theirs: Callable[[Erasure], sa.ColumnElement[bool]]


def of_user(table: sa.Table) -> Callable[[Erasure], sa.ColumnElement[bool]]:
    """For tables with `tenant` and `user_id`."""
    return lambda one: (table.c.tenant == one.tenant) & (table.c.user_id == one.user_id)


def of_user_or_conversation(table: sa.Table) -> Callable[[Erasure], sa.ColumnElement[bool]]:
    """For tables whose rows quote a conversation, whichever user they belong to."""
    return lambda one: (
        (table.c.tenant == one.tenant)
        & ((table.c.user_id == one.user_id) | table.c.conversation_id.in_(one.conversation_ids))
    )


def of_conversation(table: sa.Table) -> Callable[[Erasure], sa.ColumnElement[bool]]:
    return lambda one: (
        (table.c.tenant == one.tenant) & table.c.conversation_id.in_(one.conversation_ids)
    )


@dataclass(frozen=True, slots=True)
class RowRemover:
    """A Remover for services that hold users' data only in tables."""

    rows: Sequence[Rows]

    def survey(self, erasure: Erasure) -> Survey:
        return Survey()

    def remove_rows(self, erasure: Erasure, transaction: Transaction) -> dict[str, int]:
        return delete_rows(self.rows, erasure, transaction)

    def remove_files(self, erasure: Erasure) -> None:
        """There are none."""


def delete_rows(rows: Sequence[Rows], erasure: Erasure, transaction: Transaction) -> dict[str, int]:
    deleted = {one.place: 0 for one in rows}
    for one in rows:
        for part in parts(erasure):
            delete = one.table.delete().where(one.theirs(part))
            deleted[one.place] += int(transaction.connection.execute(delete).rowcount)
    return deleted


def parts(erasure: Erasure, size: int = IN_A_STATEMENT) -> list[Erasure]:
    """The erasure in parts of `size` conversations."""
    chunks = [*batches(erasure.conversation_ids, size)] or [[]]
    return [replace(erasure, conversation_ids=tuple(chunk)) for chunk in chunks]


@dataclass(frozen=True, slots=True)
class Erasing:
    """Wired by a service's main: the stage, and the worker that does the jobs it enqueues."""

    service: str
    database: Database
    log: EventLog
    remover: Remover

    @property
    def stage_name(self) -> str:
        return f"{self.service}.erasures"

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        return {self.stage_name: (USER_ERASURE_REQUESTED,)}

    def stage(self) -> SqlStage:
        return SqlStage(
            self.stage_name, self.database, self.log, (USER_ERASURE_REQUESTED,), self._take
        )

    def background(self) -> list[tuple[str, Callable[[threading.Event], None]]]:
        work = Scrubbed(self.database, self.worker())
        return [(self.stage_name, self.stage().run), (f"{self.stage_name}.work", work.run)]

    def worker(self) -> Worker:
        # An erasure that fails is tried for as long as it takes: it must not end with data left.
        return Worker(self.database, JOB, self._perform, self._abandon, max_attempts=1_000_000)

    def _take(self, record: Record, transaction: Transaction) -> None:
        asked = decode_requested(record.event.value)
        erasure = asked.erasure
        _note(transaction, erasure.name, _OF, dict.fromkeys(erasure.conversation_ids, 0))
        _note(transaction, erasure.name, _PART, {str(asked.part): 0})
        if len(_noted(transaction.connection, erasure.name, _PART)) < asked.parts:
            transaction.count(self.stage_name, "abstained", _PART_OF_MANY)
            return
        job = asdict(replace(erasure, conversation_ids=()))
        if not enqueue(transaction, JOB, f"{JOB}:{erasure.name}", job):
            transaction.count(self.stage_name, "abstained", _WAITING)
            return
        transaction.count(self.stage_name, "waiting", _WAITING)

    def _perform(self, job: Job) -> Finish:
        payload = dict(job.payload)
        erasure = Erasure(**{**payload, "conversation_ids": ()})
        with self.database.read() as connection:
            noted = _noted(connection, erasure.name, _OF)
        # A job enqueued by an older version has them in its payload.
        conversations = tuple(sorted({*noted, *payload["conversation_ids"]}))
        erasure = replace(erasure, conversation_ids=conversations)
        survey = self.remover.survey(erasure)
        with self.database.begin() as transaction:
            note_removed(transaction, erasure.name, survey.counts)
            _note(transaction, erasure.name, _LEARNT, dict.fromkeys(survey.model_versions, 1))
        with self.database.begin() as transaction:
            removed = dict(self.remover.remove_rows(erasure, transaction))
            removed["outbox"] = _clear_outbox(transaction, erasure.owner)
            note_removed(transaction, erasure.name, removed)
        self.remover.remove_files(erasure)
        if not self.database.scrub():
            raise Unavailable("a reader keeps the write-ahead log in use", retry_after_s=0.2)
        return lambda transaction: self._finish(erasure, transaction)

    def _finish(self, erasure: Erasure, transaction: Transaction) -> None:
        transaction.emit(_reported(self.service, erasure, transaction))
        theirs = ERASURE_NOTES.c.erasure == erasure.name
        transaction.connection.execute(ERASURE_NOTES.delete().where(theirs))
        transaction.count(self.stage_name, "waiting", _WAITING, -1)
        transaction.count(self.stage_name, "made")

    def _abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        raise RuntimeError("an erasure is never given up") from error


@dataclass(slots=True)
class Scrubbed:
    """Does a worker's jobs, which name the users to erase, and empties the write-ahead log after each, so that
    no trace of a finished job is left."""

    database: Database
    worker: Worker
    _is_clean: bool = True

    def run(self, stop: threading.Event) -> None:
        self.worker.release()
        wake = self.database.waker(JOBS)
        repeat(f"{self.worker.kind}.work", self.once, idle_s=self._rest_s, wake=wake)(stop)

    def once(self) -> bool:
        """Does one job if one is due."""
        done = self.worker.run_once()
        if done or not self._is_clean:
            self._is_clean = self.database.scrub()
        return done

    def _rest_s(self) -> float:
        return self.worker.rest_s() if self._is_clean else _SCRUBS_AGAIN_S


def note_removed(transaction: Transaction, erasure: str, counts: Mapping[str, int]) -> None:
    """Records how much was removed, by place. The first count of a place stands: a repeated step finds less."""
    _note(transaction, erasure, _REMOVED, counts)


def _note(transaction: Transaction, erasure: str, kind: str, counts: Mapping[str, int]) -> None:
    rows = [
        {"erasure": erasure, "kind": kind, "place": place, "count": count}
        for place, count in counts.items()
    ]
    if rows:
        insert = transaction.insert(ERASURE_NOTES).on_conflict_do_nothing()
        transaction.connection.execute(insert, rows)


def _noted(connection: sa.Connection, erasure: str, kind: str) -> list[str]:
    """The places of a kind of note, sorted."""
    query = sa.select(ERASURE_NOTES.c.place).where(
        ERASURE_NOTES.c.erasure == erasure, ERASURE_NOTES.c.kind == kind
    )
    return list(connection.execute(query.order_by(ERASURE_NOTES.c.place)).scalars())


def _clear_outbox(transaction: Transaction, owner: str) -> int:
    """Removes the user's unpublished events; returns how many."""
    several = (" " + OUTBOX.c.owner + " ").contains(f" {owner} ", autoescape=True)
    refused = drop_refused(transaction, several, ERASED)
    return refused + int(transaction.connection.execute(OUTBOX.delete().where(several)).rowcount)


@dataclass(frozen=True, slots=True)
class Requested:
    """One part of a request: some of the user's conversations."""

    erasure: Erasure
    part: int
    parts: int


def requested_event(asked: Requested, owner: str) -> Event:
    """`owner` names the erasure itself, as the user's own key is closed already."""
    erasure = asked.erasure
    message = pb.UserErasureRequested(**asdict(erasure), part=asked.part, parts=asked.parts)
    made = now()
    message.create_time.FromDatetime(made)
    value = message.SerializeToString()
    numbered = (str(asked.part),) if asked.part else ()
    return Event(
        USER_ERASURE_REQUESTED,
        stable_id("user.erasure_requested", erasure.name, *numbered),
        f"erasures/{erasure.erasure}",
        value,
        "interaction",
        made,
        owner=owner,
    )


def decode_requested(value: bytes) -> Requested:
    message = pb.UserErasureRequested.FromString(value)
    erasure = Erasure(
        erasure=check_segment(message.erasure, "erasure"),
        tenant=check_segment(message.tenant, "tenant"),
        user_id=check_segment(message.user_id, "user_id"),
        conversation_ids=tuple(message.conversation_ids),
        round=message.round,
    )
    return Requested(erasure, message.part, message.parts or 1)


def _reported(service: str, erasure: Erasure, transaction: Transaction) -> Event:
    query = (
        sa.select(ERASURE_NOTES)
        .where(
            ERASURE_NOTES.c.erasure == erasure.name, ERASURE_NOTES.c.kind.in_((_REMOVED, _LEARNT))
        )
        .order_by(ERASURE_NOTES.c.place)
    )
    notes: Sequence[Any] = transaction.connection.execute(query).all()
    removals = [
        pb.Removal(place=n.place, count=n.count) for n in notes if n.kind == _REMOVED and n.count
    ]
    versions = [note.place for note in notes if note.kind == _LEARNT]
    message = pb.UserErasureReported(
        erasure=erasure.erasure,
        tenant=erasure.tenant,
        service=service,
        round=erasure.round,
        removals=removals,
        model_versions=versions,
    )
    made = now()
    message.create_time.FromDatetime(made)
    return Event(
        USER_ERASURE_REPORTED,
        stable_id("user.erasure_reported", erasure.name, service),
        f"erasures/{erasure.erasure}",
        message.SerializeToString(),
        service,
        made,
    )
