"""A stage over SQL on SQLite and on PostgreSQL: killed at each step, nothing is lost or duplicated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from shared.gen.trimtab.events.v1 import events_pb2 as pb
from shared.language.topics import USER_ERASURE_REPORTED
from shared.log.events import Event, Partition, Positions, Record
from shared.log.memory import MemoryEventLog
from shared.privacy.erasure import (
    Erasing,
    Erasure,
    Requested,
    RowRemover,
    Rows,
    of_user,
    requested_event,
)
from shared.state import jobs
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker
from shared.state.outbox import OutboxRelay
from shared.state.stage import SqlStage, drain
from shared.state.tables import JOBS, METADATA

TIME = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = sa.MetaData()
NOTES = sa.Table(
    "notes",
    TABLES,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("user_id", sa.String, nullable=False),
)


class Killed(BaseException):
    """What a kill -9 looks like from inside."""


class NotesDown:
    """Stores a row and emits an event per record; is killed after the first `kill_after` of them."""

    def __init__(self, kill_after: int = -1) -> None:
        self.left = kill_after

    def __call__(self, record: Record, transaction: Transaction) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1
        row = {"id": record.event.id, "tenant": "local", "user_id": record.event.key}
        transaction.connection.execute(NOTES.insert().values(row))
        transaction.count("notes", "made")
        transaction.emit(event(f"{record.event.id}.out", record.event.key, "out.v1"))


class KilledBeforeKafkaKnows(MemoryEventLog):
    """Its consumers are killed when they commit their positions to Kafka: SQL has committed."""

    def consume(self, group, topics, positions=None):
        consumer = super().consume(group, topics, positions)

        def commit(positions: Positions) -> None:
            raise Killed

        consumer.commit = commit  # type: ignore[method-assign]
        return consumer


class KilledAfterPublishing(MemoryEventLog):
    armed = False

    def publish(self, events):
        super().publish(events)
        if self.armed:
            raise Killed


def event(identity: str, user: str = "ann", topic: str = "in.v1", owner: str = "") -> Event:
    return Event(topic, identity, user, b"ok", "test", TIME, owner=owner)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, METADATA, TABLES)
    yield opened
    opened.close()


def notes(database: Database) -> list[str]:
    with database.read() as connection:
        return sorted(connection.execute(sa.select(NOTES.c.id)).scalars())


def counts(database: Database) -> dict[tuple[str, str], int]:
    return {(outcome, reason): n for _, outcome, reason, n in database.counts()}


def stage(database: Database, log: MemoryEventLog, handle: NotesDown) -> SqlStage:
    return SqlStage("notes", database, log, ("in.v1",), handle)


EXPECTED = [f"e{n}" for n in range(6)]
TAKEN = {("taken", ""): 6, ("made", ""): 6}


def test_killed_between_the_stores_and_the_commit_nothing_stays(database: Database) -> None:
    log = MemoryEventLog()
    log.publish([event(name) for name in EXPECTED])
    with pytest.raises(Killed):
        drain(stage(database, log, NotesDown(kill_after=4)))
    assert (notes(database), counts(database), database.outbox_pending()) == ([], {}, 0)
    drain(stage(database, log, NotesDown()))
    assert (notes(database), counts(database)) == (EXPECTED, TAKEN)
    assert len(log.records("out.v1")) == 6


def test_killed_after_the_commit_nothing_is_done_again(database: Database) -> None:
    log = KilledBeforeKafkaKnows()
    log.publish([event(name) for name in EXPECTED])
    with pytest.raises(Killed):
        drain(stage(database, log, NotesDown()))
    assert (notes(database), counts(database), database.outbox_pending()) == (EXPECTED, TAKEN, 6)
    assert drain(stage(database, log, NotesDown(kill_after=0))) == 0
    assert counts(database) == TAKEN


def test_killed_between_publishing_and_forgetting_the_next_stage_counts_once(
    database: Database,
) -> None:
    log = KilledAfterPublishing()
    with database.begin() as transaction:
        transaction.emit(event("e0"))
    log.armed = True
    with pytest.raises(Killed):
        OutboxRelay(database, log).relay_once()
    log.armed = False
    assert OutboxRelay(database, log).relay_once() == 1
    assert [record.event.id for record in log.records("in.v1")] == ["e0", "e0"]
    drain(stage(database, log, NotesDown()))
    assert (notes(database), counts(database)) == (["e0"], {("taken", ""): 1, ("made", ""): 1})


def test_positions_are_of_each_partition(database: Database) -> None:
    first, other = Partition("in.v1", 0), Partition("in.v1", 1)
    with database.begin() as transaction:
        transaction.set_positions("notes", {first: 3, other: 1})
        transaction.set_positions("notes", {other: 2})
        transaction.set_positions("else", {other: 9})
    with database.begin() as transaction:
        assert transaction.positions("notes") == {first: 3, other: 2}


def test_a_savepoint_that_fails_leaves_nothing(database: Database) -> None:
    with database.begin() as transaction:
        transaction.count("notes", "taken")
        with pytest.raises(sa.exc.IntegrityError), transaction.savepoint():
            transaction.count("notes", "made")
            row = {"id": "twice", "tenant": "local", "user_id": "ann"}
            transaction.connection.execute(NOTES.insert(), [row, row])
    assert (notes(database), counts(database)) == ([], {("taken", ""): 1})


def test_a_job_killed_before_its_end_is_done_again_and_counts_once(database: Database) -> None:
    def finish(transaction: Transaction) -> None:
        transaction.count("jobs", "made")

    def killed(job: Job) -> Finish:
        raise Killed

    def abandon(job: Job, error: BaseException, transaction: Transaction) -> None:
        raise AssertionError

    with database.begin() as transaction:
        assert jobs.enqueue(transaction, "test", "j1", {"a": 1})
        assert not jobs.enqueue(transaction, "test", "j1", {"a": 2})
    with pytest.raises(Killed):
        Worker(database, "test", killed, abandon).run_once()
    again = Worker(database, "test", lambda job: finish, abandon)
    assert not again.run_once()  # the lease still holds
    lease_ends(database)
    assert again.run_once()
    assert not again.run_once()
    assert counts(database) == {("made", ""): 1}


def test_an_erasure_killed_in_the_middle_reports_what_it_removed_once(database: Database) -> None:
    killed: list[str] = []

    class KilledOnce(RowRemover):
        def remove_files(self, erasure: Erasure) -> None:
            if not killed:
                killed.append(erasure.name)
                raise Killed

    log = MemoryEventLog()
    rows = [{"id": f"n{n}", "tenant": "local", "user_id": ("ann", "ben")[n % 2]} for n in range(5)]
    with database.begin() as transaction:
        transaction.connection.execute(NOTES.insert(), rows)
        transaction.emit(event("waits", owner="tenants/local/users/ann"))
        transaction.emit(event("stays", owner="tenants/local/users/anna"))
    erasing = Erasing("test", database, log, KilledOnce([Rows("notes", NOTES, of_user(NOTES))]))
    asked = Requested(Erasure("er1", "local", "ann"), 0, 1)
    log.publish([requested_event(asked, "erasures/er1")] * 2)
    drain_only(erasing.stage())
    worker = erasing.worker()
    with pytest.raises(Killed):
        worker.run_once()
    assert notes(database) == ["n1", "n3"]
    lease_ends(database)
    assert worker.run_once()
    OutboxRelay(database, log).relay_once()
    (record,) = log.records(USER_ERASURE_REPORTED)
    report = pb.UserErasureReported.FromString(record.event.value)
    assert {one.place: one.count for one in report.removals} == {"notes": 3, "outbox": 1}
    assert [one.event.id for one in log.records("in.v1")] == ["stays"]
    assert counts(database)["made", ""] == 1


def test_what_was_set_aside_of_an_erased_owner_waits_no_more(database: Database) -> None:
    log = MemoryEventLog(max_message_bytes=1_000)
    with database.begin() as transaction:
        for user in ("ann", "ben"):
            said = event(user, owner=f"tenants/local/users/{user}")
            transaction.emit(replace(said, value=b"x" * 2_000))
    OutboxRelay(database, log).relay_once()
    assert counts(database) == {("taken", ""): 2, ("waiting", "EVENT_TOO_LARGE"): 2}
    erasing = Erasing("test", database, log, RowRemover([]))
    asked = Requested(Erasure("er1", "local", "ann"), 0, 1)
    log.publish([requested_event(asked, "erasures/er1")])
    drain_only(erasing.stage())
    assert erasing.worker().run_once()
    outbox = {(o, reason): n for stage, o, reason, n in database.counts() if stage == "outbox"}
    assert outbox == {
        ("taken", ""): 2, ("waiting", "EVENT_TOO_LARGE"): 1, ("dropped", "ERASED"): 1,
    }  # fmt: skip


def lease_ends(database: Database) -> None:
    """As if its ten minutes had passed."""
    with database.begin() as transaction:
        transaction.connection.execute(JOBS.update().values(run_after=0.0))


def drain_only(one: SqlStage) -> None:
    """Without the relay: the outbox stays as it is."""
    consumer = one.log.consume(one.name, one.topics, one._positions)
    while records := consumer.poll(0.0, one.batch_records):
        consumer.commit(one._take(records, Counter()))
