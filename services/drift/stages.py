"""feedback.mined.v1 and reward.scored.v1 -> streams. Two stages with one topic each, so that the counts of each
add up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.drift import codec
from services.drift.app.taking import Outcome, take_follow_up, take_score
from services.drift.app.watching import Watcher
from services.drift.domain import Watching
from services.drift.ports import Streams
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.topics import FEEDBACK_MINED, REWARD_SCORED
from shared.log.events import EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.stage import SqlStage

FEEDBACK = "drift.feedback"
REWARD = "drift.reward"
GROUPS = {FEEDBACK: (FEEDBACK_MINED,), REWARD: (REWARD_SCORED,)}


@dataclass(frozen=True, slots=True)
class Intakes:
    """One handler per topic. `streams` gives access to the streams within a transaction."""

    watching: Watching
    streams: Callable[[Transaction], Streams]

    def follow_up(self, record: Record, transaction: Transaction) -> None:
        mined = codec.follow_up(events.FeedbackMined.FromString(record.event.value))
        _count(FEEDBACK, take_follow_up(mined, self._watcher(transaction)), transaction)

    def score(self, record: Record, transaction: Transaction) -> None:
        scored = codec.scored_answer(events.RewardScored.FromString(record.event.value))
        _count(REWARD, take_score(scored, self._watcher(transaction)), transaction)

    def feedback_stage(self, database: Database, log: EventLog) -> SqlStage:
        return SqlStage(FEEDBACK, database, log, GROUPS[FEEDBACK], self.follow_up)

    def reward_stage(self, database: Database, log: EventLog) -> SqlStage:
        return SqlStage(REWARD, database, log, GROUPS[REWARD], self.score)

    def _watcher(self, transaction: Transaction) -> Watcher:
        return Watcher(self.streams(transaction), self.watching)


def _count(stage: str, outcome: Outcome, transaction: Transaction) -> None:
    transaction.count(stage, outcome.outcome, outcome.reason)
