"""What every room stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.feedback.adapters.unit_of_work import UnitOfWork
from services.feedback.mining.app.follow_ups import STAGE as TURNS
from services.feedback.settings import FeedbackSettings
from shared.language.topics import INTERACTION_LOGGED
from shared.log.events import EventLog
from shared.state.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class Ground:
    settings: FeedbackSettings
    database: Database
    log: EventLog
    clock: Callable[[], datetime]

    def now(self) -> float:
        """Unix time."""
        return self.clock().timestamp()

    def work_of(self, transaction: Transaction) -> UnitOfWork:
        return UnitOfWork(transaction, self.now, self.settings.jobs_max_waiting)

    def turns_lag(self) -> int:
        """How many logged turns are still to be taken."""
        return self.log.lag(TURNS, [INTERACTION_LOGGED])[INTERACTION_LOGGED]
