"""Durable jobs that have the model write personas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.feedback.personas.app.writing import WritePersona
from services.feedback.personas.domain import PERSONAS
from services.feedback.personas.ports import PersonaWork
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker


@dataclass(frozen=True, slots=True)
class PersonaJobs:
    database: Database
    write: WritePersona
    work_of: Callable[[Transaction], PersonaWork]
    clock: Callable[[], datetime]

    def perform(self, job: Job) -> Finish:
        tenant, user_id = str(job.payload["tenant"]), str(job.payload["user_id"])
        draft = self.write.write(tenant, user_id)

        def finish(transaction: Transaction) -> None:
            work = self.work_of(transaction)
            self.write.record(tenant, user_id, draft, self.clock(), work)

        return finish

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        transaction.count(PERSONAS, "waiting", "TO_WRITE", -1)
        transaction.count(PERSONAS, "abstained", "FAILED")

    def worker(self, kind: str) -> Worker:
        return Worker(self.database, kind, self.perform, self.abandon)
