"""Joins what people say outside the conversation with the answer that it is about.

Counts of stage "feedback.explicit": made: "thumbs", "rating", "demonstration"; abstained:
CATEGORY_ONLY, COMMENT_ONLY (joined and published, but it says no degree), REPLACED (its user said
something else in its place before it could be joined; not published); waiting: TURN_NOT_LOGGED;
dropped: ALREADY_KNOWN, what is malformed, NEVER_LOGGED, and BACKLOG, as too much of the tenant
waits (these three to the dead letters).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, NamedTuple

from services.feedback.mining.domain import Label, Mined, Source, bounded_context
from services.feedback.mining.ports import Consequences, W
from shared.language.errors import InvalidArgument
from shared.language.identifiers import stable_id
from shared.language.opinions import Category, Demonstration, ExplicitFeedback, Rating
from shared.language.turns import Turn
from shared.language.verdicts import FollowUpKind

STAGE = "feedback.explicit"


class Verdict(NamedTuple):
    kind: FollowUpKind
    dissatisfaction: float
    # "made" or "abstained", with the reason.
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class JoinExplicit(Generic[W]):
    """`quiet_s`: a rating of a whole conversation waits until no turn of it has come for so long,
    as ratings and turns travel on different topics."""

    consequences: Consequences[W]
    context_messages: int = 8
    context_characters: int = 8000
    quiet_s: float = 3.0

    def __call__(self, explicit: ExplicitFeedback, now: float, work: W) -> bool:
        """False if what it is about is not there yet. InvalidArgument if it can never be joined."""
        verdict = verdict_of(explicit)
        answer = work.turns.answer_meant(explicit)
        if answer is None or now < self.quiet_at(explicit, work):
            return False
        mined = self._mined(explicit, answer, verdict, work)
        standing = work.feedback.stand(
            mined.tenant,
            mined.feedback_id,
            slot_of(explicit, mined),
            explicit.time.timestamp(),
            replaces=explicit.replaces,
        )
        if standing is None:
            work.count(STAGE, "dropped", "ALREADY_KNOWN")
            return True
        self.consequences.taken_back(mined.tenant, standing.replaces, work)
        if standing.is_replaced:
            work.feedback.add(mined, publish=False, replaced=True)
            work.count(STAGE, "abstained", "REPLACED")
            return True
        mined = replace(mined, replaces=standing.replaces)
        work.feedback.add(mined)
        work.count(STAGE, verdict.outcome, verdict.reason)
        self._follow(explicit, mined, verdict, work)
        return True

    def _follow(self, explicit: ExplicitFeedback, mined: Mined, verdict: Verdict, work: W) -> None:
        complaint = mined.label.kind is FollowUpKind.REATTEMPT_WITH_FEEDBACK
        if isinstance(explicit.value, Demonstration):
            self.consequences.demonstrated(mined, explicit.value.text, work)
        elif complaint and not explicit.is_of_conversation:
            self.consequences.after_complaint(mined, work)
        if verdict.outcome == "made":
            work.feedback.note_label(mined.tenant)
            self.consequences.after_explicit(mined, work)

    def quiet_at(self, explicit: ExplicitFeedback, work: W) -> float:
        """When a rating of a whole conversation may be joined if no more turns come (Unix time); 0 if it
        need not wait: it is of one answer, or there is none."""
        if not explicit.is_of_conversation:
            return 0.0
        last = work.turns.last_arrival(explicit.tenant, explicit.conversation_id)
        return last + self.quiet_s if last else 0.0

    def _mined(self, explicit: ExplicitFeedback, answer: Turn, verdict: Verdict, work: W) -> Mined:
        before = work.turns.before(
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
            create_time=explicit.time,
            answer_turn_id="" if explicit.is_of_conversation else answer.turn_id,
            model_version=answer.model_version,
            policy=answer.policy,
            channel=answer.channel,
            context=context,
            answer=answer.message,
            follow_up=explicit.comment,
        )


def slot_of(explicit: ExplicitFeedback, mined: Mined) -> str:
    """What can stand in the place of what: the same user's words of one kind on one target, by
    whichever of its names the target was called."""
    target = (mined.tenant, mined.conversation_id, mined.answer_turn_id)
    return stable_id("slot", *target, mined.user_id, explicit.value_kind)


def verdict_of(explicit: ExplicitFeedback) -> Verdict:
    """What the value says. Dissatisfaction = 1 - normalised value; a dissatisfied value with a
    comment is a re-attempt with feedback, without one a re-attempt without; the middle of a scale
    says nothing. A demonstration says that the answer was to be replaced: 1."""
    match explicit.value:
        case Demonstration():
            return Verdict(FollowUpKind.REATTEMPT_WITH_FEEDBACK, 1.0, "made", "demonstration")
        case bool(thumbs_up):
            return _of_degree(float(thumbs_up), explicit.comment, "thumbs")
        case Rating() as rating:
            return _of_degree(_degree(rating), explicit.comment, "rating")
        case Category():
            return Verdict(FollowUpKind.NONE, 0.5, "abstained", "CATEGORY_ONLY")
    if explicit.comment:
        return Verdict(FollowUpKind.NONE, 0.5, "abstained", "COMMENT_ONLY")
    raise InvalidArgument(
        "the feedback has no value: give a thumb, a rating, a category, a demonstration or a comment",
        reason="EMPTY_FEEDBACK",
        field="value",
    )


def _degree(rating: Rating) -> float:
    if not rating.low < rating.high or not rating.low <= rating.value <= rating.high:
        raise InvalidArgument(
            f"rating {rating.value} does not lie on a scale from {rating.low} to {rating.high}",
            reason="INVALID_RATING",
            field="rating",
        )
    return (rating.value - rating.low) / (rating.high - rating.low)


def _of_degree(degree: float, comment: str, reason: str) -> Verdict:
    with_words = bool(comment.strip())
    bad = (
        FollowUpKind.REATTEMPT_WITH_FEEDBACK
        if with_words
        else FollowUpKind.REATTEMPT_WITHOUT_FEEDBACK
    )
    kind = FollowUpKind.POSITIVE if degree > 0.5 else bad if degree < 0.5 else FollowUpKind.NONE
    return Verdict(kind, 1.0 - degree, "made", reason)
