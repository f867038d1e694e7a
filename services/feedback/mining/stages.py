"""interaction.logged.v1 and feedback.given.v1 -> app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol

from services.feedback.mining import codec
from services.feedback.mining.app.explicit import STAGE as EXPLICIT
from services.feedback.mining.app.explicit import JoinExplicit
from services.feedback.mining.app.follow_ups import STAGE as TURNS
from services.feedback.mining.app.follow_ups import TakeTurn
from services.feedback.mining.domain import BACKLOG
from services.feedback.mining.ports import W
from shared.language.errors import InvalidArgument
from shared.language.opinions import ExplicitFeedback
from shared.language.topics import FEEDBACK_GIVEN, INTERACTION_LOGGED
from shared.log.events import EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.stage import SqlStage

GROUPS = {TURNS: (INTERACTION_LOGGED,), EXPLICIT: (FEEDBACK_GIVEN,)}


class WaitingRecords(Protocol):
    """Records that wait, within one transaction."""

    def is_full(self, tenant: str, most: int) -> bool:
        """Whether `most` of the tenant's wait."""

    def add(self, record: Record, explicit: ExplicitFeedback, arrived: float, due: float) -> None:
        """`due`: when it is looked at again (Unix time, as `arrived`)."""


@dataclass(frozen=True, slots=True)
class TurnsHandler(Generic[W]):
    take: TakeTurn[W]
    work_of: Callable[[Transaction], W]

    def __call__(self, record: Record, transaction: Transaction) -> None:
        self.take(codec.decode_turn(record.event.value), self.work_of(transaction))

    def stage(self, database: Database, log: EventLog) -> SqlStage:
        return SqlStage(TURNS, database, log, GROUPS[TURNS], self)


@dataclass(frozen=True, slots=True)
class ExplicitHandler(Generic[W]):
    """Joins immediately if it can; otherwise the whole record waits in SQL, at most `most_waiting` of a tenant
    for `wait_s` each: it may have to be buried. `now`: Unix time."""

    join: JoinExplicit[W]
    work_of: Callable[[Transaction], W]
    waiting_of: Callable[[Transaction], WaitingRecords]
    now: Callable[[], float]
    wait_s: float
    most_waiting: int

    def __call__(self, record: Record, transaction: Transaction) -> None:
        explicit, now = codec.decode_explicit(record.event.value), self.now()
        work, waiting = self.work_of(transaction), self.waiting_of(transaction)
        if self.join(explicit, now, work):
            return
        if waiting.is_full(explicit.tenant, self.most_waiting):
            raise InvalidArgument(
                f"{self.most_waiting} pieces of this tenant's feedback already wait for their turns:"
                " replay it later",
                reason=BACKLOG,
            )
        due = self.join.quiet_at(explicit, work) or now + self.wait_s
        waiting.add(record, explicit, now, due)
        transaction.count(EXPLICIT, "waiting", "TURN_NOT_LOGGED")

    def stage(self, database: Database, log: EventLog) -> SqlStage:
        return SqlStage(EXPLICIT, database, log, GROUPS[EXPLICIT], self)
