"""Background work: judging in batches, filtering pairs, and the jobs that ask the model to write.

All of it repeats after a kill without a second effect: what is slow happens outside a transaction,
and the transaction that writes the result also removes what asked for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.feedback.adapters.sql_book import SqlBook
from services.feedback.adapters.sql_judgements import SqlJudgements, add_judgement
from services.feedback.adapters.sql_shelf import SqlShelf
from services.feedback.app import unsure
from services.feedback.app.agreement import Agreement, TrustRules
from services.feedback.app.mining import JudgeFollowUps, give_up
from services.feedback.app.pairs import (
    REPLACED,
    UNTRAINED,
    FilterPairs,
    Outcome,
    ProposeRewrite,
    SampleUnderPersona,
)
from services.feedback.app.personas import WritePersona
from services.feedback.app.requests import PAIRS, PERSONAS
from services.feedback.app.unsure import JudgeUnsure
from services.feedback.domain import Mined
from shared.language.errors import FailedPrecondition, NotFound, Unavailable
from shared.language.times import now
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Postpone, Worker, waiting
from shared.state.tables import JOBS

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JudgeLoop:
    """Judges what is ready, up to `batch` in one pass of the encoder and one transaction."""

    database: Database
    shelf: SqlShelf
    judge: JudgeFollowUps
    batch: int = 64
    context_messages: int = 8
    context_characters: int = 8000

    def once(self) -> int:
        found = self.shelf.ready_follow_ups(
            self.batch, self.context_messages, self.context_characters
        )
        if not found:
            return 0
        mined = self.judge.judge(found)
        with self.database.begin() as transaction:
            self.judge.record(mined, SqlBook(transaction))
        return len(found)


@dataclass(frozen=True, slots=True)
class LateFollowUps:
    """Gives up follow-ups whose answer did not come within `wait_s`, once every turn is taken."""

    database: Database
    shelf: SqlShelf
    turns_lag: Callable[[], int]
    wait_s: float

    def once(self) -> int:
        late = self.shelf.late_follow_ups(time.time() - self.wait_s, 500)
        if not late or self.turns_lag():
            return 0
        with self.database.begin() as transaction:
            for turn in late:
                give_up(turn, SqlBook(transaction))
        return len(late)


@dataclass(frozen=True, slots=True)
class FilterLoop:
    """Has the reward model judge what is PROPOSED; waits while there is none."""

    database: Database
    shelf: SqlShelf
    filter: FilterPairs
    batch: int = 64

    def once(self) -> int:
        pairs = self.shelf.proposed_pairs(self.batch)
        if not pairs:
            return 0
        try:
            judged = self.filter.judge(pairs)
        except FailedPrecondition as error:
            if error.reason == UNTRAINED:
                return 0
            raise
        with self.database.begin() as transaction:
            self.filter.record(judged, SqlBook(transaction))
        return len(judged)


def repeat(
    once: Callable[[], int], idle_s: float, database: Database | None = None
) -> Callable[[threading.Event], None]:
    """Calls `once` for as long as it does something, else again after `idle_s`, or after a commit
    of `database`. What it raises is logged and tried again: no batch is lost by it."""

    def run(stop: threading.Event) -> None:
        wake = threading.Event()
        if database is not None:
            database.after_commit(wake.set)
        while not stop.is_set():
            try:
                if not once():
                    (wake if database is not None else stop).wait(idle_s)
                    wake.clear()
            except Unavailable as error:
                _log.info("waits: %s", error)
                stop.wait(error.retry_after_s or 1.0)
            except Exception:  # noqa: BLE001 - logged; one bad batch must not end the loop
                _log.exception("goes on after an error")
                stop.wait(1.0)

    return run


def paced(
    worker: Worker, per_minute: float, yields_to: Sequence[str] = ()
) -> Callable[[threading.Event], None]:
    """Takes at most `per_minute` jobs a minute, one at a time, and none while jobs of a kind in
    `yields_to` wait: the model's time is dear, and this work may wait."""
    gap_s = 60.0 / per_minute if per_minute > 0 else 0.0

    def once() -> bool:
        if any(waiting(worker.database, kind) for kind in yields_to):
            return False
        return worker.run_once()

    def run(stop: threading.Event) -> None:
        wake = threading.Event()
        worker.database.after_commit(wake.set, JOBS)
        worker.release()
        while not stop.is_set():
            try:
                if once():
                    stop.wait(gap_s)
                else:
                    wake.wait(worker.idle_s)
                    wake.clear()
            except Exception:  # noqa: BLE001 - logged; one bad batch must not end the loop
                _log.exception("worker %s goes on after an error", worker.kind)
                stop.wait(1.0)

    return run


@dataclass(frozen=True, slots=True)
class PersonaJobs:
    database: Database
    write: WritePersona

    def perform(self, job: Job) -> Finish:
        tenant, user_id = str(job.payload["tenant"]), str(job.payload["user_id"])
        draft = self.write.write(tenant, user_id)

        def finish(transaction: Transaction) -> None:
            self.write.record(tenant, user_id, draft, now(), SqlBook(transaction))

        return finish

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        book = SqlBook(transaction)
        book.count(PERSONAS, "waiting", "TO_WRITE", -1)
        book.count(PERSONAS, "abstained", "FAILED")

    def worker(self, kind: str) -> Worker:
        return Worker(self.database, kind, self.perform, self.abandon)


@dataclass(frozen=True, slots=True)
class PairJobs:
    """Jobs of one way to make pairs; `waiting` is the reason under which its jobs wait."""

    database: Database
    shelf: SqlShelf
    make: ProposeRewrite | SampleUnderPersona
    waiting: str
    untrained_delay_s: float = 15.0

    def perform(self, job: Job) -> Finish:
        outcome = self._outcome(self._mined(job))

        def finish(transaction: Transaction) -> None:
            self.make.record(outcome, SqlBook(transaction))

        return finish

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        book = SqlBook(transaction)
        book.count(PAIRS, "waiting", self.waiting, -1)
        book.count(PAIRS, "abstained", "FAILED")

    def worker(self, kind: str, threads: int = 1) -> Worker:
        return Worker(self.database, kind, self.perform, self.abandon, threads)

    def _mined(self, job: Job) -> Mined:
        mined = self.shelf.mined(str(job.payload["feedback_id"]))
        if mined is None:
            raise NotFound(f"feedback {job.payload['feedback_id']} is not there")
        return mined

    def _outcome(self, mined: Mined) -> Outcome:
        if self.shelf.is_replaced(mined.feedback_id):
            return Outcome(None, REPLACED)
        try:
            return self.make.make(mined)
        except FailedPrecondition as error:
            if error.reason != UNTRAINED:
                raise
            raise Postpone(self.untrained_delay_s, error.reason) from error


@dataclass(frozen=True, slots=True)
class UnsureJobs:
    """Asks the served model about follow-ups that the heads were not sure of. Whether what it says counts
    is looked up for each: its agreement with people may rise and fall."""

    database: Database
    shelf: SqlShelf
    judgements: SqlJudgements
    judge: JudgeUnsure
    rules: TrustRules
    most_compared: int = 2000

    def agreement(self, tenant: str) -> Agreement:
        found = self.judgements.compared(tenant, self.judge.chat.name, self.most_compared)
        return self.rules.agreement(found)

    def perform(self, job: Job) -> Finish:
        mined = self.shelf.mined(str(job.payload["feedback_id"]))
        if mined is None:
            raise NotFound(f"feedback {job.payload['feedback_id']} is not there")
        label = self.judge.judge(mined)
        trusted = self.agreement(mined.tenant).trusted

        def finish(transaction: Transaction) -> None:
            book = SqlBook(transaction)
            add_judgement(transaction, self.judge.record(mined, label, trusted, now(), book))

        return finish

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        book = SqlBook(transaction)
        book.count(unsure.STAGE, "waiting", unsure.WAITS, -1)
        book.count(unsure.STAGE, "dropped", "FAILED")

    def worker(self) -> Worker:
        return Worker(self.database, unsure.JOB, self.perform, self.abandon)
