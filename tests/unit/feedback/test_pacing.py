"""Paced work: at most so many jobs a minute, none before what goes first, and looked at when one is due."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.feedback.tables import METADATA
from services.feedback.wiring.pacing import Pace
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker, enqueue


class Work:
    """A worker whose jobs do nothing, and the seconds that only grow."""

    def __init__(self, database: Database, kind: str = "slow") -> None:
        self.database, self.kind, self.done, self.seconds = database, kind, list[str](), 0.0
        self.worker = Worker(database, kind, self.perform, self.abandon)

    def perform(self, job: Job) -> Finish:
        self.done.append(job.id)
        return lambda transaction: None

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        raise AssertionError(error)

    def ask(self, *ids: str, delay_s: float = 0.0) -> None:
        with self.database.begin() as transaction:
            for one in ids:
                enqueue(transaction, self.kind, one, {}, delay_s)

    def pace(self, *yields_to: str) -> Pace:
        return Pace(self.worker, 6.0, yields_to, clock=lambda: self.seconds)


@pytest.fixture
def work() -> Iterator[Work]:
    database = Database("sqlite://", METADATA)
    yield Work(database)
    database.close()


def test_so_many_a_minute(work: Work) -> None:
    work.ask("a", "b")
    pace = work.pace()
    assert (pace.once(), pace.once()) == (True, False)
    assert pace.rest_s() == pytest.approx(10.0)
    work.seconds = 9.9
    assert not pace.once()
    work.seconds = 10.0
    assert pace.once()
    assert work.done == ["a", "b"]


def test_none_while_what_goes_first_waits(work: Work) -> None:
    first = Work(work.database, "first")
    work.ask("a")
    first.ask("x")
    pace = work.pace("first")
    assert not pace.once()
    assert first.worker.run_once()
    assert pace.once()


def test_it_rests_until_the_next_job_is_due(work: Work) -> None:
    work.ask("later", delay_s=1.5)
    pace = work.pace()
    assert not pace.once()
    assert 1.0 < pace.rest_s() <= 1.5
