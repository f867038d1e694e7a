"""preference.given.v1 -> app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.feedback.pairs import codec
from services.feedback.pairs.app.preferences import STAGE, TakePreference
from services.feedback.pairs.ports import PairWork
from shared.language.topics import PREFERENCE_GIVEN
from shared.log.events import EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.stage import SqlStage

GROUPS = {STAGE: (PREFERENCE_GIVEN,)}


@dataclass(frozen=True, slots=True)
class PreferencesHandler:
    take: TakePreference
    work_of: Callable[[Transaction], PairWork]

    def __call__(self, record: Record, transaction: Transaction) -> None:
        self.take(codec.decode_preference(record.event.value), self.work_of(transaction))

    def stage(self, database: Database, log: EventLog) -> SqlStage:
        return SqlStage(STAGE, database, log, GROUPS[STAGE], self)
