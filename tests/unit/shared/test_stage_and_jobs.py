"""Delivery: what is taken counts once, what cannot be taken is kept, what was killed is done again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from shared.language.errors import InvalidArgument, Unavailable
from shared.log.events import Event, Positions, Record
from shared.log.memory import MemoryEventLog
from shared.state import jobs
from shared.state import stage as stage_module
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Postpone, Worker
from shared.state.outbox import OutboxRelay
from shared.state.stage import SqlStage, drain
from shared.state.tables import JOBS

TIME = datetime(2026, 1, 1, tzinfo=UTC)


def event(number: int, topic: str = "in.v1", value: bytes = b"ok") -> Event:
    return Event(topic, f"e{number}", f"k{number % 3}", value, "test", TIME)


class Doubler:
    """Emits one event per record taken; refuses `bad`, fails on `poison`, waits on `away`."""

    def __init__(self) -> None:
        self.away, self.refused = False, 0

    def __call__(self, record: Record, transaction: Transaction) -> None:
        if record.event.value == b"bad":
            raise InvalidArgument("bad is bad", reason="BAD")
        if record.event.value == b"poison":
            raise ZeroDivisionError
        if self.away:
            self.refused += 1
            raise Unavailable("later", retry_after_s=0.05)
        transaction.count("double", "made")
        transaction.emit(Event("out.v1", f"{record.event.id}.out", "k", b"x", "double", TIME))


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the stage; once it is told to stop, it returns soon from its last poll."""
    monkeypatch.setattr(stage_module, "_IDLE_S", 0.1)


@pytest.fixture
def log() -> MemoryEventLog:
    return MemoryEventLog()


@pytest.fixture
def database() -> Database:
    return Database("sqlite://")


def counts(database: Database) -> dict[tuple[str, str], int]:
    return {(outcome, reason): n for _, outcome, reason, n in database.counts()}


def test_what_is_published_twice_counts_once(log: MemoryEventLog, database: Database) -> None:
    stage = SqlStage("double", database, log, ["in.v1"], Doubler())
    log.publish([event(n) for n in range(10)] + [event(n) for n in range(5)])
    assert drain(stage) == 15
    assert counts(database) == {("taken", ""): 10, ("made", ""): 10}
    assert sorted(r.event.id for r in log.records("out.v1")) == sorted(
        f"e{n}.out" for n in range(10)
    )


def test_a_second_run_starts_where_the_first_ended(log: MemoryEventLog, database: Database) -> None:
    log.publish([event(n) for n in range(4)])
    assert drain(SqlStage("double", database, log, ["in.v1"], Doubler())) == 4
    log.publish([event(9)])
    assert drain(SqlStage("double", database, log, ["in.v1"], Doubler())) == 1


def test_a_bad_record_goes_to_the_dead_letters_and_the_rest_goes_on(
    log: MemoryEventLog, database: Database
) -> None:
    stage = SqlStage("double", database, log, ["in.v1"], Doubler())
    log.publish([event(0), event(3, value=b"bad"), event(6)])
    drain(stage)
    assert counts(database) == {("taken", ""): 3, ("made", ""): 2, ("dropped", "BAD"): 1}
    (letter,) = log.records("in.v1.dlq")
    assert letter.event.headers["dlq_reason"] == "BAD"
    assert letter.event.headers["dlq_offset"] == "1"
    assert letter.event.value == b"bad"


class ManyDoubled(Doubler):
    """The same for many records together; remembers how many each call had."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def all(self, records: Sequence[Record], transaction: Transaction) -> None:
        self.asked.append(len(records))
        for record in records:
            self(record, transaction)


def test_many_are_taken_at_once(log: MemoryEventLog, database: Database) -> None:
    many = ManyDoubled()
    stage = SqlStage("double", database, log, ["in.v1"], many, handle_all=many.all)
    log.publish([event(n) for n in range(10)] + [event(n) for n in range(5)])
    assert drain(stage) == 15
    assert many.asked == [10]
    assert counts(database) == {("taken", ""): 10, ("made", ""): 10}
    assert len(log.records("out.v1")) == 10


def test_a_bad_record_among_many_stands_alone_and_nothing_is_done_twice(
    log: MemoryEventLog, database: Database
) -> None:
    many = ManyDoubled()
    stage = SqlStage("double", database, log, ["in.v1"], many, handle_all=many.all)
    # One key, so that the order is fixed.
    values = [b"bad" if n in (2, 11) else b"ok" for n in range(16)]
    log.publish([event(3 * n, value=value) for n, value in enumerate(values)])
    drain(stage)
    assert counts(database) == {("taken", ""): 16, ("made", ""): 14, ("dropped", "BAD"): 2}
    assert [letter.offset for letter in log.records("in.v1.dlq")] == [0, 1]
    assert sorted(letter.event.headers["dlq_offset"] for letter in log.records("in.v1.dlq")) == [
        "11",
        "2",
    ]
    made = [record.event.id for record in log.records("out.v1")]
    assert made == [f"e{3 * n}.out" for n in range(16) if n not in (2, 11)]
    assert len(many.asked) < 16


def test_nothing_is_written_while_a_part_is_away(log: MemoryEventLog, database: Database) -> None:
    double = Doubler()
    double.away = True
    stage = SqlStage("double", database, log, ["in.v1"], double)
    log.publish([event(0)])
    with pytest.raises(Unavailable):
        drain(stage)
    assert counts(database) == {}
    double.away = False
    drain(stage)
    assert counts(database) == {("taken", ""): 1, ("made", ""): 1}


def test_poison_is_tried_three_times_and_then_buried(
    log: MemoryEventLog, database: Database
) -> None:
    stage = SqlStage("double", database, log, ["in.v1"], Doubler())
    log.publish([event(0, value=b"poison"), event(3)])
    with running(stage):
        eventually(lambda: counts(database).get(("made", "")), 1)
    assert counts(database)[("dropped", "HANDLER_FAILED")] == 1
    OutboxRelay(database, log).relay_once()
    assert log.records("in.v1.dlq")[0].event.headers["dlq_attempts"] == "3"


class Joining(MemoryEventLog):
    """Counts how often a group was joined."""

    joined = 0

    def consume(self, group, topics, positions=None):
        self.joined += 1
        return super().consume(group, topics, positions)


def test_a_stage_stays_in_its_group_whatever_its_batches_fail_by(database: Database) -> None:
    """Each leaving and joining would stop all members of the group."""
    log, double = Joining(), Doubler()
    double.away = True
    log.publish([event(0, value=b"poison"), event(3), event(6)])
    with running(SqlStage("double", database, log, ["in.v1"], double)):
        eventually(lambda: double.refused > 0, True)
        double.away = False
        eventually(lambda: counts(database).get(("made", "")), 2)
    assert counts(database) == {("taken", ""): 3, ("made", ""): 2, ("dropped", "HANDLER_FAILED"): 1}
    assert log.joined == 1


class Showing(MemoryEventLog):
    """Records the positions committed to it; fails the first so many times."""

    def __init__(self, away: int = 0) -> None:
        super().__init__()
        self.shown: list[Positions] = []
        self._away_times = away

    def consume(self, group, topics, positions=None):
        consumer = super().consume(group, topics, positions)
        commit = consumer.commit

        def noted(positions: Positions) -> None:
            if self._away_times:
                self._away_times -= 1
                raise Unavailable("no coordinator")
            self.shown.append(dict(positions))
            commit(positions)

        consumer.commit = noted  # type: ignore[method-assign]
        return consumer


@contextmanager
def running(stage: SqlStage) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=stage.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)


def eventually(look: Callable[[], object], wanted: object, limit_s: float = 5.0) -> None:
    deadline = time.monotonic() + limit_s
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, f"{found} instead of {wanted}"
        time.sleep(0.01)


@pytest.mark.parametrize(("every_s", "least", "most"), [(math.inf, 2, 2), (0.0, 61, 61)])
def test_a_busy_stage_shows_its_positions_now_and_then_and_at_its_end(
    every_s: float, least: int, most: int, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "_SHOWN_EVERY_S", every_s)
    log = Showing()
    log.publish([event(n) for n in range(60)])
    with running(SqlStage("double", database, log, ["in.v1"], Doubler(), batch_records=1)):
        eventually(lambda: log.lag("double", ["in.v1"]), {"in.v1": 0})
        log.publish([event(99)])
        eventually(lambda: log.lag("double", ["in.v1"]), {"in.v1": 0})
    assert least <= len(log.shown) <= most
    assert counts(database)["made", ""] == 61


def test_what_could_not_be_shown_is_shown_without_another_record(database: Database) -> None:
    log = Showing(away=2)
    log.publish([event(0)])
    with running(SqlStage("double", database, log, ["in.v1"], Doubler())):
        eventually(lambda: log.lag("double", ["in.v1"]), {"in.v1": 0})
    # By a stage that stored it and was killed before it committed that to Kafka.
    killed = Showing(away=9)
    killed.publish([event(1)])
    with pytest.raises(Unavailable):
        drain(SqlStage("other", database, killed, ["in.v1"], Doubler()))
    assert killed.lag("other", ["in.v1"]) == {"in.v1": 1}
    killed._away_times = 0
    with running(SqlStage("other", database, killed, ["in.v1"], Doubler())):
        eventually(lambda: killed.lag("other", ["in.v1"]), {"in.v1": 0})


def test_the_outbox_keeps_what_could_not_be_published(
    log: MemoryEventLog, database: Database
) -> None:
    with database.begin() as transaction:
        transaction.emit(event(1))
        transaction.emit(event(2))
    log.go_away()
    with pytest.raises(Unavailable):
        OutboxRelay(database, log).relay_once()
    assert database.outbox_pending() == 2
    log.go_away(False)
    assert OutboxRelay(database, log).relay_once() == 2
    assert database.outbox_pending() == 0


def worker(database: Database, perform: jobs.Perform) -> Worker:
    def abandon(job: Job, error: BaseException, transaction: Transaction) -> None:
        transaction.count("jobs", "dropped", type(error).__name__)

    return Worker(database, "test", perform, abandon, max_attempts=1)


def made(transaction: Transaction) -> None:
    transaction.count("jobs", "made")


def test_a_job_is_enqueued_once_and_done_once(database: Database) -> None:
    with database.begin() as transaction:
        assert jobs.enqueue(transaction, "test", "j1", {"a": 1})
        assert not jobs.enqueue(transaction, "test", "j1", {"a": 2})
    seen: list[Job] = []

    def perform(job: Job) -> Finish:
        seen.append(job)
        return made

    assert worker(database, perform).run_once()
    assert not worker(database, perform).run_once()
    assert [(job.payload, job.attempts) for job in seen] == [({"a": 1}, 1)]
    assert counts(database) == {("made", ""): 1}


def test_a_worker_killed_before_the_end_leaves_the_job(database: Database) -> None:
    with database.begin() as transaction:
        jobs.enqueue(transaction, "test", "j1", {})

    def killed(job: Job) -> Finish:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker(database, killed).run_once()
    again = worker(database, lambda job: made)
    assert not again.run_once()  # the lease still holds
    again.release()  # as a new process does
    assert again.run_once()
    assert counts(database) == {("made", ""): 1}


def due_at(database: Database, job_id: str, time_s: float, kind: str = "test") -> None:
    with database.begin() as transaction:
        assert jobs.enqueue(transaction, kind, job_id, {})
        mine = JOBS.c.id == job_id
        transaction.connection.execute(JOBS.update().where(mine).values(run_after=time_s))


def test_who_finds_no_job_rests_until_the_next_is_due(database: Database) -> None:
    resting = replace(worker(database, lambda job: made), clock=lambda: 1000.0)
    assert resting.rest_s() == resting.idle_s == 5.0
    due_at(database, "far", 1060.0)
    due_at(database, "of another", 1000.0, kind="other")
    assert resting.rest_s() == 5.0
    due_at(database, "near", 1000.5)
    assert resting.rest_s() == 0.5
    due_at(database, "due", 999.0)
    assert resting.rest_s() == 0.02


def test_tenants_take_turns_and_within_one_the_longest_due_comes_first(database: Database) -> None:
    with database.begin() as transaction:
        for number in range(6):
            jobs.enqueue(transaction, "test", f"flood-{number}", {"tenant": "flood"})
        jobs.enqueue(transaction, "test", "small-0", {"tenant": "small"})
        jobs.enqueue(transaction, "test", "small-1", {}, tenant="small")
        jobs.enqueue(transaction, "test", "later", {"tenant": "small"}, delay_s=60.0)
        jobs.enqueue(transaction, "test", "nobody's", {})
    done: list[str] = []

    def perform(job: Job) -> Finish:
        done.append(job.id)
        return made

    working = worker(database, perform)
    while working.run_once():
        continue
    assert done == [
        "flood-0", "small-0", "nobody's", "flood-1", "small-1",
        "flood-2", "flood-3", "flood-4", "flood-5",
    ]  # fmt: skip


def test_a_tenant_is_full_at_its_own_number_of_jobs(database: Database) -> None:
    with database.begin() as transaction:
        for number in range(3):
            jobs.enqueue(transaction, "test", f"flood-{number}", {"tenant": "flood"})
        assert jobs.is_full(transaction, "test", "flood", 3)
        assert not jobs.is_full(transaction, "test", "flood", 4)
        assert not jobs.is_full(transaction, "test", "small", 1)
        assert not jobs.is_full(transaction, "other", "flood", 1)


def test_postponed_is_kept_and_failed_is_abandoned(database: Database) -> None:
    with database.begin() as transaction:
        jobs.enqueue(transaction, "test", "j1", {})

    def postpone(job: Job) -> Finish:
        raise Postpone(100.0, "too early")

    def fail(job: Job) -> Finish:
        raise ZeroDivisionError

    worker(database, postpone).run_once()
    assert jobs.waiting(database, "test") == 1
    assert not worker(database, fail).run_once()  # not due for 100 s
    with database.begin() as transaction:
        transaction.connection.execute(sa.update(JOBS).values(run_after=0.0))
    worker(database, fail).run_once()
    assert jobs.waiting(database, "test") == 0
    assert counts(database) == {("dropped", "ZeroDivisionError"): 1}
