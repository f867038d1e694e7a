"""feedback.mined.v1 and reward.scored.v1 -> the judge of a rollout. Two stages with one topic each, so that the
counts of each add up."""

from __future__ import annotations

from collections.abc import Callable

from services.registry.app.judge import Judge
from services.registry.codec.events import decode_observation, decode_score
from services.registry.ports import Session
from shared.language.topics import FEEDBACK_MINED, REWARD_SCORED
from shared.log.events import EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.stage import SqlStage

JUDGE = "registry.judge"
REWARDS = "registry.rewards"
GROUPS = {JUDGE: [FEEDBACK_MINED], REWARDS: [REWARD_SCORED]}


def judge_stage(
    database: Database, log: EventLog, judge: Judge, session_of: Callable[[Transaction], Session]
) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        seen = decode_observation(record.event.value)
        _count(transaction, JUDGE, judge.observe(session_of(transaction), seen))

    return SqlStage(JUDGE, database, log, GROUPS[JUDGE], handle)


def reward_stage(
    database: Database, log: EventLog, judge: Judge, session_of: Callable[[Transaction], Session]
) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        seen = decode_score(record.event.value)
        _count(transaction, REWARDS, judge.score(session_of(transaction), seen))

    return SqlStage(REWARDS, database, log, GROUPS[REWARDS], handle)


def _count(transaction: Transaction, stage: str, reason: str) -> None:
    """`reason`: why it does not count; empty if it does."""
    if reason:
        transaction.count(stage, "abstained", reason)
    else:
        transaction.count(stage, "made")
