"""Background work of pairs: jobs that have the model write, and the reward model's verdicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.feedback.mining.domain import Mined
from services.feedback.mining.ports import FeedbackReads
from services.feedback.pairs.app.making import (
    UNTRAINED,
    FilterPairs,
    Outcome,
    ProposeRewrite,
    SampleUnderPersona,
)
from services.feedback.pairs.domain import PAIRS, REPLACED
from services.feedback.pairs.ports import PairReads, PairWork
from shared.language.errors import FailedPrecondition, NotFound
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Postpone, Worker


@dataclass(frozen=True, slots=True)
class FilterLoop:
    """Has the reward model judge what is PROPOSED; waits while there is none."""

    database: Database
    reads: PairReads
    filter: FilterPairs
    work_of: Callable[[Transaction], PairWork]
    batch: int = 64

    def once(self) -> int:
        pairs = self.reads.proposed(self.batch)
        if not pairs:
            return 0
        try:
            judged = self.filter.judge(pairs)
        except FailedPrecondition as error:
            if error.reason == UNTRAINED:
                return 0
            raise
        with self.database.begin() as transaction:
            self.filter.record(judged, self.work_of(transaction))
        return len(judged)


@dataclass(frozen=True, slots=True)
class PairJobs:
    """Jobs of one way to make pairs; `waiting` is the reason under which its jobs wait."""

    database: Database
    feedback: FeedbackReads
    make: ProposeRewrite | SampleUnderPersona
    work_of: Callable[[Transaction], PairWork]
    waiting: str
    untrained_delay_s: float = 15.0

    def perform(self, job: Job) -> Finish:
        outcome = self._outcome(self._mined(job))
        return lambda transaction: self.make.record(outcome, self.work_of(transaction))

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        transaction.count(PAIRS, "waiting", self.waiting, -1)
        transaction.count(PAIRS, "abstained", "FAILED")

    def worker(self, kind: str, threads: int = 1) -> Worker:
        return Worker(self.database, kind, self.perform, self.abandon, threads)

    def _mined(self, job: Job) -> Mined:
        mined = self.feedback.mined(str(job.payload["feedback_id"]))
        if mined is None:
            raise NotFound(f"feedback {job.payload['feedback_id']} is not there")
        return mined

    def _outcome(self, mined: Mined) -> Outcome:
        if self.feedback.is_replaced(mined.feedback_id):
            return Outcome(None, REPLACED)
        try:
            return self.make.make(mined)
        except FailedPrecondition as error:
            if error.reason != UNTRAINED:
                raise
            raise Postpone(self.untrained_delay_s, error.reason) from error
