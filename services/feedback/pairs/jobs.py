"""Background work of pairs: jobs that have the model write, and the reward model's verdicts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from services.feedback.mining.domain import Mined
from services.feedback.mining.ports import FeedbackReads
from services.feedback.pairs.app.making import (
    UNTRAINED,
    FilterPairs,
    Outcome,
    ProposeRewrite,
    SampleUnderPersona,
    drop_backlog,
)
from services.feedback.pairs.domain import PAIRS, REPLACED
from services.feedback.pairs.ports import PairReads, PairWork
from shared.language.errors import FailedPrecondition, NotFound, Unavailable
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Postpone, Worker

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class FilterLoop:
    """Has the reward model judge what is PROPOSED, a batch of each tenant in turn. A tenant without a reward
    model, or whose judging fails, rests for `rests_s` and holds up nobody; of what a tenant has waiting, the
    newest `most_waiting` stay."""

    database: Database
    reads: PairReads
    filter: FilterPairs
    work_of: Callable[[Transaction], PairWork]
    now: Callable[[], float]
    batch: int = 64
    most_waiting: int = 5_000
    rests_s: float = 15.0
    _rests_until: dict[str, float] = field(default_factory=dict, repr=False)

    def once(self) -> int:
        """How many were judged. Raises Unavailable while the reward service is unavailable."""
        tenants = self.reads.tenants()
        self._rests_until = {t: at for t, at in self._rests_until.items() if t in tenants}
        return sum(self._of(tenant) for tenant in tenants)

    def _of(self, tenant: str) -> int:
        self._bound(tenant)
        if self._rests_until.get(tenant, 0.0) > self.now():
            return 0
        try:
            judged = self.filter.judge(self.reads.proposed(tenant, self.batch))
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - said; one tenant must not stop the others
            if not (isinstance(error, FailedPrecondition) and error.reason == UNTRAINED):
                _log.exception("the pairs of tenant %s could not be judged", tenant)
            self._rests_until[tenant] = self.now() + self.rests_s
            return 0
        with self.database.begin() as transaction:
            self.filter.record(judged, self.work_of(transaction))
        return len(judged)

    def _bound(self, tenant: str) -> None:
        place = self.reads.overfull(tenant, self.most_waiting)
        if place is not None:
            with self.database.begin() as transaction:
                drop_backlog(tenant, place, 500, self.work_of(transaction))


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
            raise NotFound(f"feedback {job.payload['feedback_id']} no longer exists")
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
