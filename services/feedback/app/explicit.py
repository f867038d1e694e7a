"""Joins what people say outside the conversation with the answer that it is about.

Counts of stage "feedback.explicit": made: "thumbs", "rating", "demonstration"; abstained:
CATEGORY_ONLY, COMMENT_ONLY (joined and published, but it says no degree), REPLACED (its user said
something else in its place before it could be joined; not published); waiting: TURN_NOT_LOGGED;
dropped: ALREADY_KNOWN, what is malformed, and NEVER_LOGGED (these two to the dead letters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from services.feedback.app.filters.duplicates import jaccard
from services.feedback.app.pairs import REPLACED
from services.feedback.app.ports import Book
from services.feedback.app.proposing import Propose
from services.feedback.app.requests import PAIRS, Requests
from services.feedback.domain import (
    DEMONSTRATED,
    Explicit,
    Kind,
    Label,
    Mined,
    Pair,
    PairSource,
    Source,
    Turn,
    bounded_context,
    pair_id,
)
from shared.language.errors import InvalidArgument
from shared.language.identifiers import conversation_name, feedback_name, stable_id
from shared.language.messages import text_message

STAGE = "feedback.explicit"
# Jaccard similarity of answer and correction (runs of five characters) from which it is an edit.
EDITED = 0.5


class Verdict(NamedTuple):
    kind: Kind
    dissatisfaction: float
    # "made" or "abstained", with the reason.
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class JoinExplicit:
    """`quiet_s`: a rating of a whole conversation waits until no turn of it has come for so long,
    as ratings and turns travel on different topics."""

    requests: Requests
    propose: Propose
    context_messages: int = 8
    context_characters: int = 8000
    quiet_s: float = 3.0

    def __call__(self, explicit: Explicit, now: float, book: Book) -> bool:
        """False if what it is about is not there yet. InvalidArgument if it can never be joined."""
        verdict = verdict_of(explicit)
        answer = book.find_answer(explicit)
        if answer is None or not self._settled(explicit, now, book):
            return False
        mined = self._mined(explicit, answer, verdict, book)
        standing = book.stand(
            mined.feedback_id,
            slot_of(explicit, mined),
            explicit.create_time.timestamp(),
            replaces=explicit.replaces,
        )
        if standing is None:
            book.count(STAGE, "dropped", "ALREADY_KNOWN")
            return True
        self._retract(mined.tenant, standing.replaces, book)
        if standing.is_replaced:
            book.add_mined(mined, publish=False)
            book.count(STAGE, "abstained", "REPLACED")
            return True
        mined = replace(mined, replaces=standing.replaces)
        book.add_mined(mined)
        book.count(STAGE, verdict.outcome, verdict.reason)
        if explicit.demonstration:
            self._demonstrated(explicit, mined, book)
        elif mined.label.kind is Kind.REATTEMPT_WITH_FEEDBACK and not explicit.whole_conversation:
            self.requests.after_complaint(mined, book)
        if verdict.outcome == "made":
            book.note_label(mined.tenant)
            self.requests.beside(mined, book)
        return True

    def _retract(self, tenant: str, feedback_ids: Sequence[str], book: Book) -> None:
        """Pairs that nobody has judged yet go with the feedback they were made of."""
        made = (PairSource.USER_GUIDED_REWRITE, PairSource.VERSION_CONTRAST)
        names = (DEMONSTRATED, *(source.value for source in made))
        pairs = [pair_id(name, tenant, one) for one in feedback_ids for name in names]
        if dropped := book.drop_proposed(pairs, REPLACED) if pairs else 0:
            book.count(PAIRS, "waiting", "REWARD", -dropped)
            book.count(PAIRS, "dropped", REPLACED, dropped)

    def _settled(self, explicit: Explicit, now: float, book: Book) -> bool:
        if not explicit.whole_conversation:
            return True
        last = book.last_arrival(explicit.tenant, explicit.conversation_id)
        return now - last >= self.quiet_s

    def _mined(self, explicit: Explicit, answer: Turn, verdict: Verdict, book: Book) -> Mined:
        before = book.turns_before(
            answer.tenant, answer.conversation_id, answer.index, self.context_messages
        )
        context = bounded_context(
            [turn.message for turn in before], self.context_messages, self.context_characters
        )
        reason = verdict.reason if verdict.outcome == "abstained" else ""
        return Mined(
            feedback_id=stable_id("explicit", explicit.tenant, explicit.feedback_id),
            tenant=explicit.tenant,
            user_id=explicit.user_id or answer.user_id,
            conversation_id=answer.conversation_id,
            source=Source.EXPLICIT,
            label=Label(verdict.kind, {verdict.kind.value: 1.0}, verdict.dissatisfaction, reason),
            create_time=explicit.create_time,
            answer_turn_id="" if explicit.whole_conversation else answer.turn_id,
            model_version=answer.model_version,
            channel=answer.channel,
            context=context,
            answer=answer.message,
            follow_up=explicit.comment,
        )

    def _demonstrated(self, explicit: Explicit, mined: Mined, book: Book) -> None:
        """A corrected answer is a pair as it stands: the correction is chosen. One that keeps most of
        the answer is an edit."""
        book.count(PAIRS, "taken")
        if mined.answer is None or not mined.context:
            book.count(PAIRS, "abstained", "NO_REQUEST")
            return
        if mined.answer.text.strip() == explicit.demonstration.strip():
            book.count(PAIRS, "abstained", "SAME_AS_ANSWER")
            return
        if not self.requests.may_pair(mined, book):
            return
        is_edit = jaccard(mined.answer.text, explicit.demonstration) >= EDITED
        pair = Pair(
            pair_id=pair_id(DEMONSTRATED, mined.tenant, mined.feedback_id),
            tenant=mined.tenant,
            user_id=mined.user_id,
            conversation_id=mined.conversation_id,
            source=PairSource.EDIT if is_edit else PairSource.DEMONSTRATION,
            prompt=mined.context,
            chosen=text_message("assistant", explicit.demonstration),
            rejected=mined.answer,
            create_time=mined.create_time,
            confidence=1.0,
            persona=book.user(mined.tenant, mined.user_id).persona_text,
            model_version=mined.model_version,
            evidence=(
                feedback_name(mined.tenant, mined.feedback_id),
                conversation_name(mined.tenant, mined.conversation_id),
            ),
            feedback_text=explicit.comment,
        )
        if not self.propose(pair, book):
            book.count(PAIRS, "abstained", "ALREADY_KNOWN")


def slot_of(explicit: Explicit, mined: Mined) -> str:
    """What can stand in the place of what: the same user's words of one kind on one target, by
    whichever of its names the target was called."""
    target = (mined.tenant, mined.conversation_id, mined.answer_turn_id)
    return stable_id("slot", *target, mined.user_id, explicit.value_kind)


def verdict_of(explicit: Explicit) -> Verdict:
    """What the value says. Dissatisfaction = 1 - normalised value; a dissatisfied value with a
    comment is a re-attempt with feedback, without one a re-attempt without; the middle of a scale
    says nothing. A demonstration says that the answer was to be replaced: 1."""
    if explicit.demonstration:
        return Verdict(Kind.REATTEMPT_WITH_FEEDBACK, 1.0, "made", "demonstration")
    if explicit.thumbs_up is not None:
        return _of_degree(float(explicit.thumbs_up), explicit.comment, "thumbs")
    if explicit.rating is not None:
        rating = explicit.rating
        if not rating.min < rating.max or not rating.min <= rating.value <= rating.max:
            raise InvalidArgument(
                f"rating {rating.value} does not lie on a scale from {rating.min} to {rating.max}",
                reason="INVALID_RATING",
                field="rating",
            )
        degree = (rating.value - rating.min) / (rating.max - rating.min)
        return _of_degree(degree, explicit.comment, "rating")
    if explicit.category:
        return Verdict(Kind.NONE, 0.5, "abstained", "CATEGORY_ONLY")
    if explicit.comment:
        return Verdict(Kind.NONE, 0.5, "abstained", "COMMENT_ONLY")
    raise InvalidArgument("feedback has no value", reason="EMPTY_FEEDBACK", field="value")


def _of_degree(degree: float, comment: str, reason: str) -> Verdict:
    bad = Kind.REATTEMPT_WITH_FEEDBACK if comment.strip() else Kind.REATTEMPT_WITHOUT_FEEDBACK
    kind = Kind.POSITIVE if degree > 0.5 else bad if degree < 0.5 else Kind.NONE
    return Verdict(kind, 1.0 - degree, "made", reason)
