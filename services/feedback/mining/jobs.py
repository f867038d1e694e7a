"""Background work of mining: judging in batches, what waits, and asking the served model.

All of it repeats after a kill without a second effect: what is slow happens outside a transaction,
and the transaction that writes the result also removes what asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol

from services.feedback.mining import codec
from services.feedback.mining.app import explicit as explicit_app
from services.feedback.mining.app import unsure
from services.feedback.mining.app.agreement import Trust
from services.feedback.mining.app.explicit import JoinExplicit
from services.feedback.mining.app.follow_ups import JudgeFollowUps, give_up
from services.feedback.mining.app.unsure import JudgeUnsure
from services.feedback.mining.ports import FeedbackReads, JudgementWrites, MiningWork, W
from shared.language.errors import InvalidArgument, NotFound
from shared.log.events import Record
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker
from shared.state.stage import bury


@dataclass(frozen=True, slots=True)
class JudgeLoop(Generic[W]):
    """Judges what is ready, up to `batch` in one pass of the encoder and one transaction."""

    database: Database
    reads: FeedbackReads
    judge: JudgeFollowUps[W]
    work_of: Callable[[Transaction], W]
    batch: int = 64
    context_messages: int = 8
    context_characters: int = 8000

    def once(self) -> int:
        found = self.reads.ready_follow_ups(
            self.batch, self.context_messages, self.context_characters
        )
        if not found:
            return 0
        mined = self.judge.judge(found)
        with self.database.begin() as transaction:
            self.judge.record(mined, self.work_of(transaction))
        return len(found)


@dataclass(frozen=True, slots=True)
class LateFollowUps:
    """Gives up follow-ups whose answer did not come within `wait_s`, once every turn is taken."""

    database: Database
    reads: FeedbackReads
    work_of: Callable[[Transaction], MiningWork]
    turns_lag: Callable[[], int]
    wait_s: float
    now: Callable[[], float]

    def once(self) -> int:
        late = self.reads.late_follow_ups(self.now() - self.wait_s, 500)
        if not late or self.turns_lag():
            return 0
        with self.database.begin() as transaction:
            work = self.work_of(transaction)
            for turn in late:
                give_up(turn, work)
        return len(late)


class WaitingRecord(Protocol):
    """`place` grows in the order in which records came; `arrived`: Unix time."""

    @property
    def place(self) -> int: ...

    @property
    def record(self) -> Record: ...

    @property
    def arrived(self) -> float: ...


class WaitingReads(Protocol):
    def after(self, place: int, most: int) -> Sequence[WaitingRecord]:
        """In the order in which they came."""


class WaitingWrites(Protocol):
    def remove(self, place: int) -> bool:
        """False if another replica removed it."""


@dataclass(frozen=True, slots=True)
class ExplicitSweep(Generic[W]):
    """Tries again what waits. After `wait_s` it goes to the dead letters as NEVER_LOGGED, but not
    while turns are still to be taken (`turns_lag`): what is late is not lost."""

    database: Database
    join: JoinExplicit[W]
    work_of: Callable[[Transaction], W]
    waiting: WaitingReads
    waiting_of: Callable[[Transaction], WaitingWrites]
    turns_lag: Callable[[], int]
    wait_s: float
    now: Callable[[], float]
    batch: int = 200

    def once(self) -> int:
        """How many no longer wait."""
        done, after = 0, 0
        while rows := self.waiting.after(after, self.batch):
            after = rows[-1].place
            done += self._sweep(rows)
        return done

    def _sweep(self, rows: Sequence[WaitingRecord]) -> int:
        now = self.now()
        late = any(now - row.arrived > self.wait_s for row in rows)
        may_bury = late and self.turns_lag() == 0
        done = 0
        with self.database.begin() as transaction:
            for row in rows:
                expired = may_bury and now - row.arrived > self.wait_s
                if self._settle(row, now, expired, transaction):
                    done += 1
        return done

    def _settle(
        self, row: WaitingRecord, now: float, expired: bool, transaction: Transaction
    ) -> bool:
        explicit = codec.decode_explicit(row.record.event.value)
        with transaction.savepoint():
            try:
                joined = self.join(explicit, now, self.work_of(transaction))
            except InvalidArgument as error:
                joined, expired, reason, detail = False, True, error.reason, error.message
            else:
                reason = "NEVER_LOGGED"
                detail = f"what it is about was not logged within {self.wait_s:.0f} s"
            if not joined and not expired:
                return False
            if not self.waiting_of(transaction).remove(row.place):
                raise InvalidArgument("settled by another replica")  # undoes the join
            transaction.count(explicit_app.STAGE, "waiting", "TURN_NOT_LOGGED", -1)
            if not joined:
                bury(explicit_app.STAGE, row.record, transaction, reason, detail)
        return True


@dataclass(frozen=True, slots=True)
class UnsureJobs(Generic[W]):
    """Asks the served model about follow-ups that the heads were not sure of. Whether what it says counts
    is looked up for each: its agreement with people may rise and fall."""

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
            raise NotFound(f"feedback {job.payload['feedback_id']} is not there")
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
