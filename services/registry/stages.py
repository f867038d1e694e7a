"""feedback.mined.v1 -> the judge of a rollout."""

from __future__ import annotations

from collections.abc import Callable

from services.registry.app.judge import Judge
from services.registry.codec.events import decode_observation
from services.registry.ports import Session
from shared.language.topics import FEEDBACK_MINED
from shared.log.events import EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.stage import SqlStage

JUDGE = "registry.judge"
GROUPS = {JUDGE: [FEEDBACK_MINED]}


def judge_stage(
    database: Database, log: EventLog, judge: Judge, session_of: Callable[[Transaction], Session]
) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        seen = decode_observation(record.event.value)
        if reason := judge.observe(session_of(transaction), seen):
            transaction.count(JUDGE, "abstained", reason)
        else:
            transaction.count(JUDGE, "made")

    return SqlStage(JUDGE, database, log, GROUPS[JUDGE], handle)
