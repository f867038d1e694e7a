"""Background work of mining: judging in batches, what waits, and asking the served model.

All of it repeats after a kill without a second effect: what is slow happens outside a transaction,
and the transaction that writes the result also removes what asked for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Protocol

from services.feedback.mining import codec
from services.feedback.mining.app import explicit as explicit_app
from services.feedback.mining.app import unsure
from services.feedback.mining.app.agreement import Trust
from services.feedback.mining.app.explicit import JoinExplicit
from services.feedback.mining.app.follow_ups import JudgeFollowUps, drop_backlog, give_up, lose
from services.feedback.mining.app.unsure import JudgeUnsure
from services.feedback.mining.ports import FeedbackReads, JudgementWrites, MiningWork, W
from shared.language.errors import InvalidArgument, NotFound
from shared.log.events import Record
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker
from shared.state.stage import bury

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class JudgeLoop(Generic[W]):
    """Judges what is ready, up to `batch` in one pass of the encoder and one transaction: of each tenant the
    same share, round robin."""

    database: Database
    reads: FeedbackReads
    judge: JudgeFollowUps[W]
    work_of: Callable[[Transaction], W]
    batch: int = 64
    context_messages: int = 8
    context_characters: int = 8000
    _last: str = field(default="", repr=False)

    def once(self) -> int:
        """How many were looked at. Another replica may have judged them in the meantime."""
        found, lost, self._last = self.reads.ready_follow_ups(
            self.batch, self.context_messages, self.context_characters, self._last
        )
        if not found and not lost:
            return 0
        mined = self.judge.judge(found)
        with self.database.begin() as transaction:
            work = self.work_of(transaction)
            self.judge.record(mined, work)
            for feedback_id in lost:
                lose(feedback_id, work)
        return len(found) + len(lost)


@dataclass(frozen=True, slots=True)
class LateFollowUps:
    """Gives up follow-ups whose answer did not arrive within `wait_s`, once every turn is taken, and what
    waits of a tenant beyond `most_waiting`."""

    database: Database
    reads: FeedbackReads
    work_of: Callable[[Transaction], MiningWork]
    turns_lag: Callable[[], int]
    wait_s: float
    most_waiting: int
    now: Callable[[], float]
    batch: int = 500

    def once(self) -> int:
        return self._late() + self._overfull()

    def _late(self) -> int:
        late = self.reads.late_follow_ups(self.now() - self.wait_s, self.batch)
        if not late or self.turns_lag():
            return 0
        with self.database.begin() as transaction:
            work = self.work_of(transaction)
            for feedback_id in late:
                give_up(feedback_id, work)
        return len(late)

    def _overfull(self) -> int:
        dropped = 0
        for tenant, place in self.reads.overfull(self.most_waiting):
            with self.database.begin() as transaction:
                work = self.work_of(transaction)
                dropped += drop_backlog(tenant, place, self.batch, work)
        return dropped


class WaitingRecord(Protocol):
    """`place` grows in the order in which records came; `arrived`: Unix time; `failures`: how often it
    could not be looked at."""

    @property
    def place(self) -> int: ...

    @property
    def record(self) -> Record: ...

    @property
    def arrived(self) -> float: ...

    @property
    def failures(self) -> int: ...


class WaitingReads(Protocol):
    def due(self, now: float, most: int) -> Sequence[WaitingRecord]:
        """Up to `most` that are to be looked at, the same share for each tenant that has any."""

    def next_due(self) -> float | None:
        """When the first is to be looked at (Unix time); None if nothing waits."""


class WaitingWrites(Protocol):
    def remove(self, place: int) -> bool:
        """False if another replica removed it."""

    def postpone(self, place: int, due: float, failures: int) -> None: ...


class _SettledElsewhereError(Exception):
    """Another replica removed the row: what was done for it here is undone."""


@dataclass(frozen=True, slots=True)
class ExplicitSweep(Generic[W]):
    """Looks again at what waits once its turn was logged, or its time is over. After `wait_s` it goes to the
    dead letters as NEVER_LOGGED, but not while turns are still to be taken (`turns_lag`): what is late is not
    lost. Each row is settled by itself: one that fails, or that another replica settled, stops no other.
    """

    database: Database
    join: JoinExplicit[W]
    work_of: Callable[[Transaction], W]
    waiting: WaitingReads
    waiting_of: Callable[[Transaction], WaitingWrites]
    turns_lag: Callable[[], int]
    wait_s: float
    now: Callable[[], float]
    batch: int = 200
    looks_again_s: float = 5.0
    most_failures: int = 3

    def once(self) -> int:
        """How many were looked at."""
        now = self.now()
        rows = self.waiting.due(now, self.batch)
        if not rows:
            return 0
        late = any(now - row.arrived >= self.wait_s for row in rows)
        may_bury = late and self.turns_lag() == 0
        with self.database.begin() as transaction:
            for row in rows:
                self._look(row, now, may_bury, transaction)
        return len(rows)

    def rest_s(self) -> float:
        due = self.waiting.next_due()
        most = self.looks_again_s
        return most if due is None else min(most, max(0.02, due - self.now()))

    def _look(
        self, row: WaitingRecord, now: float, may_bury: bool, transaction: Transaction
    ) -> None:
        try:
            with transaction.savepoint():
                self._settle(row, now, may_bury, transaction)
        except _SettledElsewhereError:
            _log.debug("%s was settled by another replica", row.record.event.id)
        except InvalidArgument as error:
            self._bury(row, error.reason, error.message, transaction)
        except Exception as error:  # noqa: BLE001 - counted; one row must not stop the others
            _log.exception("explicit feedback %s could not be joined", row.record.event.id)
            self._failed(row, now, error, transaction)

    def _settle(
        self, row: WaitingRecord, now: float, may_bury: bool, transaction: Transaction
    ) -> None:
        explicit = codec.decode_explicit(row.record.event.value)
        work, waiting = self.work_of(transaction), self.waiting_of(transaction)
        if self.join(explicit, now, work):
            self._remove(row, transaction)
        elif now - row.arrived < self.wait_s:
            due = self.join.quiet_at(explicit, work) or row.arrived + self.wait_s
            waiting.postpone(row.place, due, row.failures)
        elif may_bury:
            detail = f"the turn that it is about was not logged within {self.wait_s:.0f} s"
            self._bury(row, "NEVER_LOGGED", detail, transaction)
        else:
            waiting.postpone(row.place, now + self.looks_again_s, row.failures)

    def _failed(
        self, row: WaitingRecord, now: float, error: Exception, transaction: Transaction
    ) -> None:
        failures = row.failures + 1
        if failures < self.most_failures:
            due = now + 2.0**failures
            self.waiting_of(transaction).postpone(row.place, due, failures)
        else:
            self._bury(row, "HANDLER_FAILED", f"{type(error).__name__}: {error}", transaction)

    def _bury(self, row: WaitingRecord, reason: str, detail: str, transaction: Transaction) -> None:
        try:
            self._remove(row, transaction)
        except _SettledElsewhereError:
            return
        bury(explicit_app.STAGE, row.record, transaction, reason, detail)

    def _remove(self, row: WaitingRecord, transaction: Transaction) -> None:
        if not self.waiting_of(transaction).remove(row.place):
            raise _SettledElsewhereError
        transaction.count(explicit_app.STAGE, "waiting", "TURN_NOT_LOGGED", -1)


@dataclass(frozen=True, slots=True)
class UnsureJobs(Generic[W]):
    """Asks the served model about follow-ups that the heads were unsure of. Whether its answers count is looked
    up each time: its agreement with people may rise and fall."""

    database: Database
    reads: FeedbackReads
    judge: JudgeUnsure[W]
    trust: Trust
    work_of: Callable[[Transaction], W]
    judgements_of: Callable[[Transaction], JudgementWrites]
    clock: Callable[[], datetime]

    def perform(self, job: Job) -> Finish:
        mined = self.reads.mined(str(job.payload["feedback_id"]))
        if mined is None:
            raise NotFound(f"feedback {job.payload['feedback_id']} no longer exists")
        label = self.judge.judge(mined)
        trusted = self.trust.agreement(mined.tenant).trusted

        def finish(transaction: Transaction) -> None:
            work = self.work_of(transaction)
            judgement = self.judge.record(mined, label, trusted, self.clock(), work)
            self.judgements_of(transaction).add(judgement)

        return finish

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        transaction.count(unsure.STAGE, "waiting", unsure.WAITS, -1)
        transaction.count(unsure.STAGE, "dropped", "FAILED")

    def worker(self) -> Worker:
        return Worker(self.database, unsure.JOB, self.perform, self.abandon)
