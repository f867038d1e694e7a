"""What every service does for each record and job, and every few minutes, reads no table from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import empty_pb2

from shared.language.retention import Keep, RetentionPolicy
from shared.log.events import Event, Record
from shared.log.memory import MemoryEventLog
from shared.privacy.erasure import Erasing, Erasure, Requested, RowRemover, requested_event
from shared.privacy.retention import Retention
from shared.state import jobs, operations
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker
from shared.state.outbox import OutboxRelay
from shared.state.stage import SqlStage, drain
from shared.state.tables import COUNTS, METADATA, OUTBOX, POSITIONS
from tests.contract.plans import Statement, recorded, whole_tables

NOW = datetime(2026, 3, 1, tzinfo=UTC)
# A row for each stage's outcomes and partitions; what is still to be published.
SMALL = (COUNTS, POSITIONS, OUTBOX)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, METADATA)
    yield opened
    opened.close()


def read_whole(database: Database, asked: list[Statement]) -> list[str]:
    found = whole_tables(database, asked, METADATA)
    return [one for one in found if not any(f" {t.name}" in one.split(":")[0] for t in SMALL)]


def test_taking_publishing_and_counting(database: Database) -> None:
    def handle(record: Record, transaction: Transaction) -> None:
        transaction.count("notes", "made")
        transaction.emit(Event("out.v1", f"{record.event.id}.out", "k", b"x", "notes", NOW))

    log = MemoryEventLog()
    with recorded(database) as asked:
        log.publish([Event("in.v1", f"e{n}", "k", b"x", "test", NOW) for n in range(3)])
        drain(SqlStage("notes", database, log, ("in.v1",), handle))
        OutboxRelay(database, log).relay_once()
        assert database.counts() == [("notes", "made", "", 3), ("notes", "taken", "", 3)]
    assert len(asked) > 5
    assert read_whole(database, asked) == []


def test_jobs_of_many_tenants(database: Database) -> None:
    def perform(job: Job) -> Finish:
        if job.id == "j0":
            raise jobs.Postpone(60.0, "too early")
        return lambda transaction: None

    def abandon(job: Job, error: BaseException, transaction: Transaction) -> None: ...

    with database.begin() as transaction:
        for number in range(6):
            jobs.enqueue(transaction, "test", f"j{number}", {"tenant": f"t{number % 2}"})
    worker = Worker(database, "test", perform, abandon)
    with recorded(database) as asked:
        worker.release()
        while worker.run_once():
            continue
        assert worker.rest_s() == worker.idle_s
        assert jobs.waiting(database, "test")
        with database.begin() as transaction:
            assert not jobs.is_full(transaction, "test", "t0", 5)
    assert len(asked) > 20
    assert read_whole(database, asked) == []


def test_operations(database: Database) -> None:
    empty = empty_pb2.Empty()
    with recorded(database) as asked:
        for tenant in ("", "acme", "globex"):
            with database.begin() as transaction:
                operations.begin(transaction, f"operations/{tenant}", empty, tenant=tenant)
                operations.progress(transaction, f"operations/{tenant}", empty)
                operations.succeed(transaction, f"operations/{tenant}", empty)
        operations.get(database, "operations/acme", "acme")
        names = [
            [one.name for one in operations.newest(database, tenant, 2)]
            for tenant in ("acme", "globex", None)
        ]
    assert names == [
        ["operations/acme", "operations/"],
        ["operations/globex", "operations/"],
        ["operations/globex", "operations/acme"],
    ]
    assert read_whole(database, asked) == []


def test_forgetting(database: Database) -> None:
    with database.begin() as transaction:
        transaction.first_time("notes", [f"e{n}" for n in range(50)])
        for tenant in ("", "acme", "short"):
            operations.begin(transaction, f"operations/{tenant}", empty_pb2.Empty(), tenant=tenant)
    policy = RetentionPolicy({"*": Keep(store_days=30), "short": Keep(store_days=7)})
    clock = [datetime.now(UTC)]
    retention = Retention(database, (), policy, lambda: clock[0], seen_days=3)
    with recorded(database) as asked:
        gone = []
        for days in (0, 8, 23):
            clock[0] += timedelta(days=days)
            gone.append(retention.once())
    assert gone == [0, 51, 2]
    assert read_whole(database, asked) == []


def test_an_erasure(database: Database) -> None:
    log = MemoryEventLog()
    erasing = Erasing("notes", database, log, RowRemover(()))
    with recorded(database) as asked:
        for part in (1, 2):
            erasure = Erasure("e1", "acme", "ann", (f"c{part}",))
            log.publish([requested_event(Requested(erasure, part, 2), "")])
        drain(erasing.stage())
        assert erasing.worker().run_once()
    assert database.counts()[-1] == ("notes.erasures", "waiting", "UNDER_WAY", 0)
    # What is noted of one erasure is sorted by place.
    found = read_whole(database, asked)
    assert [one for one in found if "erasure_notes.erasure = " not in one] == []
