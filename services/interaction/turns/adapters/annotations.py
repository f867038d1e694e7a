"""Labels of follow-ups and scores of answers from other services, and what evaluators said."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from services.interaction.tables import ASSESSMENTS, LABELS, SCORES
from services.interaction.turns.domain.conversations import Label, Score
from shared.contracts.assessments import encode_assessment
from shared.language.assessments import Assessment
from shared.language.times import microseconds, now
from shared.state.database import Transaction


class SqlAnnotationWriter:
    """Labels, scores and assessments within a transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add_label(self, label: Label) -> bool:
        """False if this feedback is known: the first record of an id wins."""
        self._forget(label.tenant, label.replaces)
        rows = [
            {
                "tenant": label.tenant,
                "feedback_id": label.feedback_id,
                "label": name,
                "conversation_id": label.conversation_id,
                "turn_id": label.turn_id,
                "user_id": label.user_id,
                "labelled_us": label.labelled_us,
            }
            for name in label.names
        ]
        insert = self._transaction.insert(LABELS).on_conflict_do_nothing()
        return bool(self._transaction.connection.execute(insert.values(rows)).rowcount)

    def set_score(self, score: Score) -> bool:
        """False if a later score of this turn is known. The latest wins; of two with the same time, the one
        whose model's name is greater."""
        insert = self._transaction.insert(SCORES).values(
            tenant=score.tenant,
            conversation_id=score.conversation_id,
            turn_id=score.turn_id,
            user_id=score.user_id,
            score=score.value,
            scored_us=score.scored_us,
            model=score.model,
        )
        new, had = insert.excluded, SCORES.c
        later = (new.scored_us > had.scored_us) | (
            (new.scored_us == had.scored_us) & (new.model > had.model)
        )
        upsert = insert.on_conflict_do_update(
            index_elements=["tenant", "conversation_id", "turn_id"],
            set_={"score": new.score, "scored_us": new.scored_us, "model": new.model},
            where=later,
        )
        return bool(self._transaction.connection.execute(upsert).rowcount)

    def add_assessment(self, assessment: Assessment) -> bool:
        """False if it is known: the first record of an id wins."""
        insert = self._transaction.insert(ASSESSMENTS).on_conflict_do_nothing()
        row = {
            "tenant": assessment.tenant,
            "assessment_id": assessment.assessment_id,
            "conversation_id": assessment.conversation_id,
            "completion_id": assessment.completion_id,
            "user_id": assessment.user_id,
            "assessed_us": microseconds(assessment.create_time or now()),
            "body": encode_assessment(assessment).SerializeToString(),
        }
        return bool(self._transaction.connection.execute(insert.values(row)).rowcount)

    def _forget(self, tenant: str, feedback_ids: Sequence[str]) -> None:
        if feedback_ids:
            self._transaction.connection.execute(
                sa.delete(LABELS).where(
                    LABELS.c.tenant == tenant, LABELS.c.feedback_id.in_(feedback_ids)
                )
            )
