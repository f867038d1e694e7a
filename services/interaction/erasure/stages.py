"""user.erasure_reported.v1 -> the audit."""

from __future__ import annotations

from collections.abc import Callable

from services.interaction.erasure.app import Conductor
from services.interaction.erasure.codec import decode_report
from services.interaction.erasure.ports import ErasureWriter
from shared.language.topics import USER_ERASURE_REPORTED
from shared.log.events import EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.stage import SqlStage

STAGE = "interaction.audit"
GROUPS = {STAGE: (USER_ERASURE_REPORTED,)}


def reports(
    conductor: Conductor,
    database: Database,
    log: EventLog,
    writer: Callable[[Transaction], ErasureWriter],
) -> SqlStage:
    """The stage for services' reports."""

    def take(record: Record, transaction: Transaction) -> None:
        erasure, report = decode_report(record.event.value)
        if conductor.reported(writer(transaction), erasure, report):
            transaction.count(STAGE, "made")
        else:
            transaction.count(STAGE, "abstained", "NOT_WAITED_FOR")

    return SqlStage(STAGE, database, log, (USER_ERASURE_REPORTED,), take)
