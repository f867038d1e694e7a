"""Kafka -> app: two stages, each of one topic, so that the counts of each add up."""

from __future__ import annotations

from services.drift import codec
from services.drift.adapters.sql_streams import SqlStreams
from services.drift.app import Outcome, take_follow_up, take_score
from services.drift.domain import Watching
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.topics import FEEDBACK_MINED, REWARD_SCORED
from shared.log.events import EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.stage import SqlStage

FEEDBACK = "drift.feedback"
REWARD = "drift.reward"
GROUPS = {FEEDBACK: (FEEDBACK_MINED,), REWARD: (REWARD_SCORED,)}


def feedback_stage(database: Database, log: EventLog, watching: Watching) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        mined = events.FeedbackMined.FromString(record.event.value)
        outcome = take_follow_up(codec.follow_up(mined), SqlStreams(transaction), watching)
        _count(FEEDBACK, outcome, transaction)

    return SqlStage(FEEDBACK, database, log, GROUPS[FEEDBACK], handle)


def reward_stage(database: Database, log: EventLog, watching: Watching) -> SqlStage:
    def handle(record: Record, transaction: Transaction) -> None:
        scored = events.RewardScored.FromString(record.event.value)
        outcome = take_score(codec.scored_answer(scored), SqlStreams(transaction), watching)
        _count(REWARD, outcome, transaction)

    return SqlStage(REWARD, database, log, GROUPS[REWARD], handle)


def _count(stage: str, outcome: Outcome, transaction: Transaction) -> None:
    transaction.count(stage, outcome.outcome, outcome.reason)
