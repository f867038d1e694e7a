"""The steps of erasures, as durable jobs."""

from __future__ import annotations

from collections.abc import Callable

from services.interaction.erasure.app import Conductor
from services.interaction.erasure.domain import ErasureStep
from services.interaction.erasure.ports import ErasureWriter
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker

JOB = "erasure.conduct"


def steps(
    conductor: Conductor, database: Database, writer: Callable[[Transaction], ErasureWriter]
) -> Worker:
    """Performs the steps for as long as it takes: an erasure must not end with something left."""

    def perform(job: Job) -> Finish:
        finish = conductor.perform(str(job.payload["erasure"]), ErasureStep(job.payload["step"]))
        return lambda transaction: finish(writer(transaction))

    return Worker(database, JOB, perform, _never_given_up, max_attempts=1_000_000)


def _never_given_up(job: Job, error: BaseException, transaction: Transaction) -> None:
    raise RuntimeError("an erasure is never given up") from error
