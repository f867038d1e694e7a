"""preference.proposed.v1, feedback.mined.v1 and interaction.logged.v1 -> pairs, ratings, waiting answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.reward import codec
from services.reward.app.taking import ANSWERS, PAIRS, RATINGS, TakeData, TakeTurn
from services.reward.domain import Judgement, Rating
from services.reward.people.app.declaring import NoteUser
from services.reward.people.app.learning import note_evidence
from services.reward.people.ports import Memberships
from services.reward.ports import Intake
from shared.language.topics import FEEDBACK_MINED, INTERACTION_LOGGED, PREFERENCE_PROPOSED
from shared.log.events import EventLog, Record
from shared.state.database import Database, Transaction
from shared.state.stage import SqlStage

GROUPS = {
    PAIRS: (PREFERENCE_PROPOSED,),
    RATINGS: (FEEDBACK_MINED,),
    ANSWERS: (INTERACTION_LOGGED,),
}


@dataclass(frozen=True, slots=True)
class Intakes:
    """One handler per topic. `intake` and `memberships` write within a transaction."""

    take_data: TakeData
    take_turn: TakeTurn
    intake: Callable[[Transaction], Intake]
    note_user: NoteUser
    memberships: Callable[[Transaction], Memberships]

    def pair(self, record: Record, transaction: Transaction) -> None:
        tenant, pair, own_judgement = codec.decode_pair(record.event.value)
        if own_judgement:
            transaction.count(PAIRS, "abstained", "OWN_JUDGEMENT")
            return
        self.take_data.pair(self.intake(transaction), tenant, pair)
        note_evidence(self.memberships(transaction), tenant, pair.user_id)

    def rating(self, record: Record, transaction: Transaction) -> None:
        decoded = codec.decode_mined(record.event.value)
        if decoded is None:
            transaction.count(RATINGS, "made", "not_a_rating")
            return
        tenant, said = decoded
        if isinstance(said, Rating):
            self.take_data.rating(self.intake(transaction), tenant, said)
        else:
            self.take_data.judgement(self.intake(transaction), tenant, said)
            self._wishes(transaction, tenant, said)
        note_evidence(self.memberships(transaction), tenant, said.user_id)

    def _wishes(self, transaction: Transaction, tenant: str, said: Judgement) -> None:
        if not said.is_content and said.complaint:
            memberships = self.memberships(transaction)
            self.note_user.wishes(memberships, tenant, said.user_id, said.complaint, said.said_at)

    def turn(self, record: Record, transaction: Transaction) -> None:
        message, logged, seen = codec.decode_turn(record.event.value)
        intake = self.intake(transaction)
        if message.role == "user":
            self.take_turn.user(intake, logged)
            self.note_user(self.memberships(transaction), seen)
        elif message.role == "assistant":
            self.take_turn.assistant(intake, logged)
        else:
            self.take_turn.other(intake)

    def stages(self, database: Database, log: EventLog) -> list[SqlStage]:
        handlers = {PAIRS: self.pair, RATINGS: self.rating, ANSWERS: self.turn}
        return [
            SqlStage(name, database, log, topics, handlers[name]) for name, topics in GROUPS.items()
        ]
