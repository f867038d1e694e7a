"""membership.updated.v1 -> app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.feedback.people import codec
from services.feedback.people.app.following import STAGE, follow
from services.feedback.people.ports import PeopleWork
from shared.language.topics import MEMBERSHIP_UPDATED
from shared.log.events import EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.stage import SqlStage

GROUPS = {STAGE: (MEMBERSHIP_UPDATED,)}


@dataclass(frozen=True, slots=True)
class MembershipsHandler:
    work_of: Callable[[Transaction], PeopleWork]

    def __call__(self, record: Record, transaction: Transaction) -> None:
        follow(codec.decode_update(record.event.value), self.work_of(transaction))

    def stage(self, database: Database, log: EventLog) -> SqlStage:
        return SqlStage(STAGE, database, log, GROUPS[STAGE], self)
