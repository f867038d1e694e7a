"""The rules that turns, feedback and stated pairs must meet to be accepted.

What callers call users, conversations, turns, completions, models and so on becomes ids here, by the rule of
shared.language.identifiers, whichever door it came through. None is refused for its characters or its length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from shared.language.assessments import Assessment
from shared.language.errors import InvalidArgument, PermissionDenied, TrimtabError
from shared.language.identifiers import (
    checked_user,
    completion_id_of,
    conversation_id_of,
    id_of,
    is_segment,
    label_of,
    model_id_of,
    user_id_of,
)
from shared.language.messages import content_of
from shared.language.opinions import Category, Demonstration, ExplicitFeedback, Rating, Value
from shared.language.pairs import Pair, PairSource
from shared.language.policies import check_policy_id
from shared.language.turns import Turn

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_AHEAD = timedelta(days=1)
# The sources of pairs that people state outside a conversation.
STATED_SOURCES = (PairSource.ARENA_VOTE, PairSource.IMPORT)
_Item = TypeVar("_Item", Turn, ExplicitFeedback, Assessment, Pair)
_IDS: dict[str, Callable[[str], str]] = {
    "user_id": user_id_of,
    "conversation_id": conversation_id_of,
    "completion_id": completion_id_of,
    "turn_id": partial(id_of, kind="turn"),
    "replaces_turn_id": partial(id_of, kind="turn"),
    "feedback_id": partial(id_of, kind="feedback"),
    "assessment_id": partial(id_of, kind="assessment"),
    "pair_id": partial(id_of, kind="pair"),
    "model_version": model_id_of,
    "channel": label_of,
}
_OF_TURN = (
    "user_id",
    "conversation_id",
    "completion_id",
    "turn_id",
    "replaces_turn_id",
    "model_version",
    "channel",
)
_OF_FEEDBACK = ("user_id", "conversation_id", "completion_id", "turn_id", "feedback_id")
_OF_ASSESSMENT = ("user_id", "conversation_id", "completion_id", "turn_id", "assessment_id")
_OF_PAIR = ("user_id", "conversation_id", "pair_id", "model_version")
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the item at `position` of a batch was refused."""

    position: int
    error: TrimtabError


@dataclass(frozen=True, slots=True)
class Limits:
    max_turn_bytes: int = 256 * 1024


def accept_turn(turn: Turn, tenant: str, now: datetime, limits: Limits) -> Turn:
    """The turn with tenant, ids and time filled in. Raises InvalidArgument naming the field, or
    PermissionDenied (TENANT_MISMATCH)."""
    _check_tenant(turn.tenant, tenant)
    turn = _with_ids(turn, _OF_TURN)
    if not turn.conversation_id:
        raise InvalidArgument(
            "conversation_id is required: give the application's own name of the conversation",
            reason="INVALID_ID",
            field="conversation_id",
        )
    checked_user(turn.user_id)
    if turn.index < 0:
        raise InvalidArgument(
            f"index is {turn.index}; the first message has index 0",
            reason="NEGATIVE_INDEX",
            field="index",
        )
    check_policy_id(turn.policy)
    _check_content(turn, limits)
    turn_id = turn.id
    create_time = _checked_time(turn.create_time, now)
    if (turn.tenant, turn.turn_id, turn.create_time) == (tenant, turn_id, create_time):
        return turn  # nothing was missing
    return replace(turn, tenant=tenant, turn_id=turn_id, create_time=create_time)


def accept_feedback(
    feedback: ExplicitFeedback, tenant: str, now: datetime, limits: Limits
) -> ExplicitFeedback:
    """The feedback with tenant, ids and time filled in. Raises as `accept_turn` does."""
    _check_tenant(feedback.tenant, tenant)
    feedback = _with_ids(feedback, _OF_FEEDBACK)
    if isinstance(feedback.value, Category):
        feedback = replace(feedback, value=Category(label_of(feedback.value.name)))
    _check_target(feedback)
    _check_index(feedback)
    if feedback.value is not None or not feedback.comment.strip():
        _check_value(feedback.value, limits)
    _check_size(len(feedback.comment.encode()), limits, "comment")
    accepted = replace(
        feedback, tenant=tenant, create_time=_checked_time(feedback.create_time, now)
    )
    return accepted if feedback.feedback_id else replace(accepted, feedback_id=accepted.digest)


def accept_assessment(
    assessment: Assessment, tenant: str, now: datetime, limits: Limits
) -> Assessment:
    """The assessment with tenant, ids and time filled in. Raises as `accept_turn` does."""
    _check_tenant(assessment.tenant, tenant)
    assessment = _with_ids(assessment, _OF_ASSESSMENT)
    _check_target(assessment)
    _check_assessed(assessment)
    for name in ("label", "explanation", "evaluator"):
        _check_size(len(getattr(assessment, name).encode()), limits, name)
    accepted = replace(
        assessment, tenant=tenant, create_time=_checked_time(assessment.create_time, now)
    )
    return (
        accepted if assessment.assessment_id else replace(accepted, assessment_id=accepted.digest)
    )


def accept_pair(pair: Pair, tenant: str, now: datetime, limits: Limits) -> Pair:
    """The stated pair with tenant, ids and time filled in, and without groups: which of them a user is in is
    known here, not claimed. Raises as `accept_turn` does."""
    _check_tenant(pair.tenant, tenant)
    pair = _with_ids(pair, _OF_PAIR)
    checked_user(pair.user_id)
    if pair.source not in STATED_SOURCES:
        raise InvalidArgument(
            f"source must be one of {', '.join(STATED_SOURCES)}",
            reason="INVALID_SOURCE",
            field="source",
        )
    if pair.samples:
        raise InvalidArgument(
            "only mined pairs have samples: state each preference as a pair of its own",
            reason="INVALID_SAMPLES",
            field="samples",
        )
    check_policy_id(pair.policy)
    _check_sides(pair, limits)
    time = _checked_time(pair.create_time, now)
    accepted = replace(pair, tenant=tenant, create_time=time, groups=())
    return accepted if pair.pair_id else replace(accepted, pair_id=accepted.digest)


def _check_sides(pair: Pair, limits: Limits) -> None:
    if not pair.prompt:
        raise InvalidArgument("the prompt is empty", reason="EMPTY_MESSAGE", field="prompt")
    sides = {"chosen": pair.chosen, "rejected": pair.rejected}
    for name, message in sides.items():
        if message.role != "assistant" or not content_of(message):
            raise InvalidArgument(
                f"{name} must be an assistant's message with content",
                reason="EMPTY_MESSAGE",
                field=name,
            )
    if content_of(pair.chosen) == content_of(pair.rejected):
        raise InvalidArgument(
            "chosen and rejected are the same", reason="SAME_ANSWER", field="rejected"
        )
    whole = (*pair.prompt, *sides.values())
    size = sum(len(content_of(message).encode()) for message in whole)
    _check_size(size + len(pair.feedback_text.encode()), limits, "prompt")


def _check_target(said: ExplicitFeedback | Assessment) -> None:
    if not (said.completion_id or said.conversation_id):
        raise InvalidArgument(
            "it needs a completion_id, or a conversation_id with or without a turn_id",
            reason="MISSING_TARGET",
            field="completion_id",
        )


def _check_assessed(assessment: Assessment) -> None:
    if not 0 < len(assessment.name.strip()) <= _LONGEST_NAME:
        raise InvalidArgument(
            f"an assessment needs a name of 1 to {_LONGEST_NAME} characters: what was measured",
            reason="MISSING_NAME",
            field="name",
        )
    if assessment.value is not None and not math.isfinite(assessment.value):
        raise InvalidArgument("value must be finite", reason="INVALID_VALUE", field="value")
    if assessment.value is None and not (assessment.label or assessment.explanation):
        raise InvalidArgument(
            "an assessment needs a value, a label or an explanation",
            reason="MISSING_VALUE",
            field="value",
        )


def _check_index(feedback: ExplicitFeedback) -> None:
    if feedback.index is None:
        return
    if feedback.index < 0 or not feedback.conversation_id or feedback.turn_id:
        raise InvalidArgument(
            "index counts from 0, and goes with conversation_id instead of turn_id",
            reason="INVALID_INDEX",
            field="index",
        )


def _check_tenant(said: str, tenant: str) -> None:
    if said and said != tenant:
        raise PermissionDenied(
            f"the item belongs to tenant {said[:40]!r}, the caller to {tenant!r}",
            reason="TENANT_MISMATCH",
            field="tenant",
        )


def _with_ids(item: _Item, names: Sequence[str]) -> _Item:
    """The item with what it calls things made ids; the same object if they are ids already."""
    found: dict[str, Any] = {}
    for name in names:
        said = getattr(item, name)
        if said and not is_segment(said):  # almost all are ids already
            found[name] = _IDS[name](said)
    return replace(item, **found) if found else item


def _check_content(turn: Turn, limits: Limits) -> None:
    content = content_of(turn.message)
    if not content:
        raise InvalidArgument("the message is empty", reason="EMPTY_MESSAGE", field="message.parts")
    metadata = sum(len(key) + len(value.encode()) for key, value in turn.metadata.items())
    _check_size(len(content.encode()) + metadata, limits, "message")


def _check_size(size_bytes: int, limits: Limits, name: str) -> None:
    if size_bytes > limits.max_turn_bytes:
        raise InvalidArgument(
            f"{name} has {size_bytes} bytes; the limit is {limits.max_turn_bytes}",
            reason="MESSAGE_TOO_LARGE",
            field=name,
        )


def _checked_time(time: datetime | None, now: datetime) -> datetime:
    if time is None:
        return now
    if not _EARLIEST <= time <= now + _AHEAD:
        raise InvalidArgument(
            f"create_time {time.isoformat()} is before 2000 or more than a day ahead",
            reason="ABSURD_TIME",
            field="create_time",
        )
    return time


def _check_value(value: Value | None, limits: Limits) -> None:
    match value:
        case None:
            raise InvalidArgument(
                "feedback needs a value (a thumb, a rating, a category, a demonstration) or a comment",
                reason="MISSING_VALUE",
                field="value",
            )
        case Rating():
            _check_rating(value)
        case Category(name):
            if not name:
                raise InvalidArgument("category is empty", reason="INVALID_ID", field="category")
        case Demonstration(text):
            if not text.strip():
                raise InvalidArgument(
                    "demonstration is empty", reason="EMPTY_MESSAGE", field="demonstration"
                )
            _check_size(len(text.encode()), limits, "demonstration")


def _check_rating(rating: Rating) -> None:
    finite = all(math.isfinite(number) for number in (rating.value, rating.low, rating.high))
    if not finite or rating.low >= rating.high:
        raise InvalidArgument(
            "a rating needs finite min < max", reason="INVALID_SCALE", field="rating.max"
        )
    if not rating.low <= rating.value <= rating.high:
        raise InvalidArgument(
            f"rating {rating.value} is outside its scale {rating.low}..{rating.high}",
            reason="RATING_OUT_OF_RANGE",
            field="rating.value",
        )
