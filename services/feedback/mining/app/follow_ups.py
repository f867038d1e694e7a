"""From turns to labels: which turns are follow-ups, and what becomes of a judged one.

Counts of stage "feedback.turns", one for each turn taken:
made: "judged" (a label was published), "context" (assistant's and other turns), "first_turn",
"no_answer_before" (a user's turn after another user's), "edit" (a corrected message: the original was the
follow-up to judge), "alternative" (one of several answers, which the conversation did not go on with);
abstained: LOW_CONFIDENCE, SIGNALS_DISAGREE, TOO_SHORT, NON_TEXT (published too);
dropped: ALREADY_KNOWN, NO_ANSWER (its answer never came), REPLACED (another turn took its place, or that
of its answer, before it was judged), BACKLOG (too many of the tenant waited);
waiting: TO_JUDGE, ANSWER_MISSING.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic

from services.feedback.mining.app.classifier import Classifier, Exchange
from services.feedback.mining.app.hindsight import LookBack
from services.feedback.mining.app.ladder import part_of, step_of
from services.feedback.mining.domain import (
    BACKLOG,
    FollowUp,
    Label,
    Mined,
    Signals,
    Source,
    follow_up_id,
)
from services.feedback.mining.ports import Consequences, MiningWork, Vectors, W
from shared.language.turns import Turn
from shared.language.verdicts import FollowUpKind

STAGE = "feedback.turns"


def nothing(mined: Mined, work: MiningWork) -> None:
    """Abstentions are left as they are."""


@dataclass(frozen=True, slots=True)
class TakeTurn(Generic[W]):
    """Keeps a turn; a user's turn after an assistant's waits to be judged."""

    consequences: Consequences[W]

    def __call__(self, turn: Turn, work: W) -> None:
        if turn.role == "system":  # has no place in the order of turns
            work.count(STAGE, "made", "context")
            return
        if turn.is_alternative:
            work.count(STAGE, "made", "alternative")
            return
        if turn.signal:
            self._make_room(turn, work)
        if not work.turns.add(turn):
            work.count(STAGE, "dropped", "ALREADY_KNOWN")
            return
        is_answer = turn.role == "assistant"
        if turn.role == "user":
            self._take_own(turn, work)
        else:
            work.count(STAGE, "made", "context")
            work.waiting.wake(turn)
        if work.follow_ups.wake(turn, is_answer=is_answer):
            work.count(STAGE, "waiting", "ANSWER_MISSING", -1)
            if is_answer:
                work.count(STAGE, "waiting", "TO_JUDGE")
            else:
                work.count(STAGE, "made", "no_answer_before")

    def _make_room(self, turn: Turn, work: W) -> None:
        """The conversation goes on from `turn` instead of what stood there. What was judged stays judged."""
        for reason, n in zip(("TO_JUDGE", "ANSWER_MISSING"), work.turns.cut(turn), strict=True):
            if n:
                work.count(STAGE, "waiting", reason, -n)
                work.count(STAGE, "dropped", "REPLACED", n)

    def _take_own(self, turn: Turn, work: W) -> None:
        self.consequences.after_turn(turn, work)
        if turn.signal or turn.index == 0:
            work.count(STAGE, "made", "edit" if turn.signal else "first_turn")
            return
        before = work.turns.at(turn.tenant, turn.conversation_id, turn.index - 1)
        if before is not None and before.role != "assistant":
            work.count(STAGE, "made", "no_answer_before")
            return
        work.follow_ups.add(follow_up_id(turn), turn, ready=before is not None)
        work.count(STAGE, "waiting", "TO_JUDGE" if before else "ANSWER_MISSING")


@dataclass(frozen=True, slots=True)
class JudgeFollowUps(Generic[W]):
    """The slow part (`judge`) needs no transaction; `record` writes what it found."""

    classifier: Classifier
    consequences: Consequences[W]
    look_back: LookBack = field(default_factory=LookBack)
    # What is asked about abstentions.
    unsure: Callable[[Mined, MiningWork], None] = nothing

    def judge(self, follow_ups: Sequence[FollowUp]) -> list[Mined]:
        tenants = [follow_up.turn.tenant for follow_up in follow_ups]
        judged = self.classifier.judge([exchange_of(one) for one in follow_ups], tenants)
        return [mined_of(*one) for one in zip(follow_ups, *judged, strict=True)]

    def record(self, found: Sequence[Mined], work: W) -> int:
        """How many were written; what another judged meanwhile is left out."""
        written = 0
        for mined in found:
            if work.follow_ups.take(mined.feedback_id) and work.feedback.add(mined):
                self._settle(mined, work)
                self.look_back(mined, work)
                written += 1
        return written

    def _settle(self, mined: Mined, work: W) -> None:
        work.count(STAGE, "waiting", "TO_JUDGE", -1)
        if mined.label.abstained:
            work.count(STAGE, "abstained", mined.label.abstain_reason)
            self.unsure(mined, work)
            return
        work.count(STAGE, "made", "judged")
        if mined.label.kind is FollowUpKind.REATTEMPT_WITH_FEEDBACK:
            self.consequences.after_complaint(mined, work)
        self.consequences.after_feedback(mined, work)


def exchange_of(follow_up: FollowUp) -> Exchange:
    before = tuple((message.role, message.text) for message in follow_up.context)
    answer, said = follow_up.answer.message.text, follow_up.turn.message.text
    return Exchange(follow_up.request, answer, said, before)


def exchange_of_mined(mined: Mined) -> Exchange:
    """The same of a follow-up that was judged before."""
    before = tuple((message.role, message.text) for message in mined.context)
    answer = mined.answer.text if mined.answer else ""
    return Exchange(mined.request, answer, mined.follow_up, before)


def lose(feedback_id: str, work: MiningWork) -> None:
    """A follow-up whose turns were removed before it was judged."""
    if work.follow_ups.take(feedback_id):
        work.count(STAGE, "waiting", "TO_JUDGE", -1)
        work.count(STAGE, "dropped", "NO_ANSWER")


def drop_backlog(tenant: str, place: int, most: int, work: MiningWork) -> int:
    """Follow-ups beyond what may wait of a tenant, the oldest first; how many."""
    dropped = work.follow_ups.drop_up_to(tenant, place, most)
    work.count(STAGE, "waiting", "TO_JUDGE", -dropped)
    work.count(STAGE, "dropped", BACKLOG, dropped)
    return dropped


def give_up(feedback_id: str, work: MiningWork) -> None:
    """A follow-up whose answer never arrived."""
    if work.follow_ups.take(feedback_id):
        work.count(STAGE, "waiting", "ANSWER_MISSING", -1)
        work.count(STAGE, "dropped", "NO_ANSWER")


def mined_of(
    follow_up: FollowUp, label: Label, request_vector: Vectors, similarity: float
) -> Mined:
    turn, answer = follow_up.turn, follow_up.answer
    said, gap = turn.message.text, (turn.time - answer.time).total_seconds()
    return Mined(
        feedback_id=follow_up.feedback_id,
        tenant=turn.tenant,
        user_id=turn.user_id,
        conversation_id=turn.conversation_id,
        source=Source.FOLLOW_UP,
        label=label,
        create_time=turn.time,
        answer_turn_id=answer.turn_id,
        follow_up_turn_id=turn.turn_id,
        model_version=answer.model_version,
        policy=answer.policy,
        channel=turn.channel,
        context=follow_up.context,
        answer=answer.message,
        follow_up=said,
        request_embedding=tuple(float(x) for x in request_vector),
        step=step_of(label.kind, said, similarity),
        signals=Signals(
            similarity, max(gap, 0.0), answer.signal == "regeneration", follow_up.edited
        ),
        about=part_of(said, answer.message.text),
    )
