"""A job that another service refuses for its credentials is not given up: it waits until somebody helps."""

from __future__ import annotations

import pytest

from shared.language.errors import PermissionDenied, TrimtabError, Unauthenticated, Unimplemented
from shared.state import jobs
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker


class Peer:
    """What the job asks."""

    def __init__(self, refusal: TrimtabError) -> None:
        self.refusal: TrimtabError | None = refusal

    def perform(self, job: Job) -> Finish:
        if self.refusal is not None:
            raise self.refusal
        return lambda transaction: transaction.count("test", "made", str(job.attempts))


def abandon(job: Job, error: BaseException, transaction: Transaction) -> None:
    transaction.count("test", "dropped", type(error).__name__)


@pytest.mark.parametrize("refusal", [Unauthenticated, PermissionDenied, Unimplemented])
def test_a_job_waits_while_the_service_it_asks_refuses_us(refusal: type[TrimtabError]) -> None:
    database, peer, now = Database("sqlite://"), Peer(refusal("not you")), [0.0]
    with database.begin() as transaction:
        jobs.enqueue(transaction, "test", "j1", {})
    worker = Worker(database, "test", peer.perform, abandon, clock=lambda: now[0])
    for _ in range(10):
        now[0] += 1e10
        assert worker.run_once()
        assert not worker.run_once()  # not over and over
    assert (database.counts(), jobs.waiting(database, "test")) == ([], True)
    peer.refusal = None
    now[0] += 31
    assert worker.run_once()
    assert database.counts() == [("test", "made", "1", 1)]
