"""interaction.logged.v1 -> the store; feedback.mined.v1, reward.scored.v1 and assessment.given.v1 -> labels,
scores and assessments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from services.interaction.turns.app.keeping import keep
from services.interaction.turns.codec import decode_given_assessment, decode_label, decode_score
from services.interaction.turns.domain.acceptance import Limits, accept_turn
from services.interaction.turns.ports import AnnotationWriter, TurnWriter
from shared.contracts.turns import decode_logged
from shared.language.identifiers import check_segment
from shared.language.topics import ASSESSMENT_GIVEN, FEEDBACK_MINED, REWARD_SCORED
from shared.language.turns import Turn
from shared.log.events import Record
from shared.redaction.redactor import noted_counts
from shared.state.database import Transaction

STAGE, ANNOTATIONS = "interaction", "annotations"
ANNOTATED = (FEEDBACK_MINED, REWARD_SCORED, ASSESSMENT_GIVEN)
# How much redaction took out of the stored turns, by kind: taken = made.
REDACTION = "redaction"
# How many records in a batch are a backlog, and how long after such a batch there still is one.
_MANY, _LATELY = 500, timedelta(seconds=0.5)


class TurnKeeper:
    """Handles records, one or many. The rules are checked again, as others can write to the topic."""

    def __init__(
        self,
        writer: Callable[[Transaction], TurnWriter],
        limits: Limits,
        clock: Callable[[], datetime],
        also: Callable[[Sequence[Turn], Transaction], None] = lambda *_: None,
    ) -> None:
        """`also` is called with the turns just stored, within the transaction."""
        self._writer, self._limits, self._clock, self._also = writer, limits, clock, also
        self._behind_at: datetime | None = None

    def behind(self) -> bool:
        """Whether turns wait to be stored, so that other work should be postponed."""
        return self._behind_at is not None and self._clock() - self._behind_at < _LATELY

    def __call__(self, record: Record, transaction: Transaction) -> None:
        self.take_all((record,), transaction)

    def take_all(self, records: Sequence[Record], transaction: Transaction) -> None:
        """Takes all of them, or raises the reason why one cannot be taken."""
        now = self._clock()
        if len(records) >= _MANY:
            self._behind_at = now
        turns = [self._read(record, now) for record in records]
        made = keep(turns, self._writer(transaction))
        if made:
            transaction.count(STAGE, "made", n=len(made))
            self._also(made, transaction)
        if len(made) < len(turns):
            transaction.count(STAGE, "abstained", "STORED_ALREADY", len(turns) - len(made))
        for turn in made:
            for kind, n in noted_counts(turn.metadata).items():
                transaction.count(REDACTION, "taken", n=n)
                transaction.count(REDACTION, "made", kind, n)

    def _read(self, record: Record, now: datetime) -> Turn:
        turn = decode_logged(record.event.value)
        return accept_turn(turn, check_segment(turn.tenant, "tenant"), now, self._limits)


class Annotator:
    """Handles records of labels, scores and assessments, one or many."""

    def __init__(self, writer: Callable[[Transaction], AnnotationWriter]) -> None:
        self._writer = writer

    def __call__(self, record: Record, transaction: Transaction) -> None:
        self.take_all((record,), transaction)

    def take_all(self, records: Sequence[Record], transaction: Transaction) -> None:
        writer = self._writer(transaction)
        for record in records:
            reason = self._take(record, writer)
            transaction.count(ANNOTATIONS, "abstained" if reason else "made", reason)

    def _take(self, record: Record, writer: AnnotationWriter) -> str:
        """Why nothing was stored; empty if something was."""
        if record.partition.topic == REWARD_SCORED:
            return "" if writer.set_score(decode_score(record.event.value)) else "OUTDATED"
        if record.partition.topic == ASSESSMENT_GIVEN:
            given = decode_given_assessment(record.event.value)
            return "" if writer.add_assessment(given) else "STORED_ALREADY"
        label = decode_label(record.event.value)
        if not label.names:
            return "ABSTAINED"
        return "" if writer.add_label(label) else "STORED_ALREADY"
