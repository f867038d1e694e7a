"""Turns and explicit feedback as they are accepted: their types and the rules they must meet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from shared.language.errors import InvalidArgument, PermissionDenied, TrimtabError
from shared.language.identifiers import check_segment, conversation_name, stable_id, turn_name
from shared.language.messages import Message, content_of, default_turn_id

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_AHEAD = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message at its place in a conversation. `index` does not count system messages."""

    tenant: str
    conversation_id: str
    index: int
    message: Message
    user_id: str
    turn_id: str = ""
    model_version: str = ""
    completion_id: str = ""
    create_time: datetime | None = None
    channel: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    # One of shared.language.messages.SIGNALS, with the turn it was made instead of.
    signal: str = ""
    replaces_turn_id: str = ""

    @property
    def name(self) -> str:
        return turn_name(self.tenant, self.conversation_id, self.turn_id)

    @property
    def digest(self) -> str:
        """What makes two turns of one id the same: place, role, content; not who logged it when."""
        return stable_id(str(self.index), self.message.role, content_of(self.message))

    @property
    def event_id(self) -> str:
        """The same turn logged again makes the same id; other content under its turn id makes
        another, so that the conflict is seen."""
        return stable_id("turn", self.tenant, self.conversation_id, self.turn_id, self.digest)


@dataclass(frozen=True, slots=True)
class Rating:
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Category:
    name: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A better answer, as the user would have had it."""

    text: str


# A thumb is a bool.
Value = bool | Rating | Category | Demonstration


@dataclass(frozen=True, slots=True)
class Feedback:
    """What someone said of an answer (a completion or a turn) or of a conversation as a whole."""

    tenant: str
    value: Value | None
    feedback_id: str = ""
    completion_id: str = ""
    conversation_id: str = ""
    turn_id: str = ""
    user_id: str = ""
    comment: str = ""
    create_time: datetime | None = None
    # Instead of turn_id: the answer's place in the conversation.
    index: int | None = None
    # Takes the place of what the user said before of the same target with the same kind of value.
    replaces: bool = False

    @property
    def target(self) -> str:
        """Also the event's key: the conversation's name where it is known."""
        if self.conversation_id:
            return conversation_name(self.tenant, self.conversation_id)
        return f"tenants/{self.tenant}/completions/{self.completion_id}"

    @property
    def digest(self) -> str:
        """The id of feedback that has none. What replaces is told apart by its time, too: up, down
        and up again are three things said."""
        said = [repr(self.value), self.comment, self.user_id]
        if self.index is not None:
            said.append(f"index {self.index}")
        if self.replaces and self.create_time:
            said.append(self.create_time.isoformat())
        return stable_id(self.target, self.turn_id, self.completion_id, *said)

    @property
    def event_id(self) -> str:
        return stable_id("feedback", self.tenant, self.feedback_id, self.digest)


@dataclass(frozen=True, slots=True)
class Preference:
    """Of two answers to one prompt, the one that somebody preferred, stated outside a conversation.
    `source` is one of PREFERENCE_SOURCES; `model_version` wrote the rejected answer."""

    tenant: str
    user_id: str
    source: str
    prompt: tuple[Message, ...]
    chosen: Message
    rejected: Message
    pair_id: str = ""
    conversation_id: str = ""
    model_version: str = ""
    evidence: tuple[str, ...] = ()
    feedback_text: str = ""
    create_time: datetime | None = None

    @property
    def key(self) -> str:
        """The event's key."""
        if self.conversation_id:
            return conversation_name(self.tenant, self.conversation_id)
        # Keys stay readable on the topics: no user's id is in them.
        return stable_id("preference", self.tenant, self.user_id)

    @property
    def digest(self) -> str:
        messages = (*self.prompt, self.chosen, self.rejected)
        said = [text for message in messages for text in (message.role, content_of(message))]
        return stable_id(self.tenant, self.user_id, self.source, self.conversation_id, *said)

    @property
    def event_id(self) -> str:
        return stable_id("preference", self.tenant, self.pair_id, self.digest)


PREFERENCE_SOURCES = ("arena_vote", "import")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the item at `position` of a batch was not taken."""

    position: int
    error: TrimtabError


@dataclass(frozen=True, slots=True)
class Label:
    """What a follow-up, or explicit feedback, says of an answer (of the conversation without turn_id)."""

    tenant: str
    feedback_id: str
    conversation_id: str
    turn_id: str
    user_id: str
    names: tuple[str, ...]
    # feedback_ids of labels that no longer count.
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """A reward model's score of an answer."""

    tenant: str
    conversation_id: str
    turn_id: str
    user_id: str
    value: float
    scored_us: int
    model: str


@dataclass(frozen=True, slots=True)
class Conversation:
    tenant: str
    conversation_id: str
    user_id: str
    channel: str
    turn_count: int
    create_time: datetime
    update_time: datetime
    model_versions: tuple[str, ...]

    @property
    def name(self) -> str:
        return conversation_name(self.tenant, self.conversation_id)


@dataclass(frozen=True, slots=True)
class Limits:
    max_turn_bytes: int = 256 * 1024


def accept_turn(turn: Turn, tenant: str, now: datetime, limits: Limits) -> Turn:
    """The turn with tenant, id and time filled in. Raises InvalidArgument naming the field, or
    PermissionDenied (TENANT_MISMATCH)."""
    _check_tenant(turn.tenant, tenant)
    check_segment(turn.conversation_id, "conversation_id")
    _check_user(turn.user_id)
    if turn.index < 0:
        raise InvalidArgument(
            f"index is {turn.index}; the first message has index 0",
            reason="NEGATIVE_INDEX",
            field="index",
        )
    _check_content(turn, limits)
    for name in ("turn_id", "model_version", "completion_id", "channel", "replaces_turn_id"):
        _check_optional_id(getattr(turn, name), name)
    turn_id = turn.turn_id or default_turn_id(turn.index, turn.message)
    create_time = _checked_time(turn.create_time, now)
    if (turn.tenant, turn.turn_id, turn.create_time) == (tenant, turn_id, create_time):
        return turn  # nothing was missing
    return replace(turn, tenant=tenant, turn_id=turn_id, create_time=create_time)


def accept_feedback(feedback: Feedback, tenant: str, now: datetime, limits: Limits) -> Feedback:
    """The feedback with tenant, id and time filled in. Raises as `accept_turn` does."""
    _check_tenant(feedback.tenant, tenant)
    if not (feedback.completion_id or feedback.conversation_id):
        raise InvalidArgument(
            "feedback needs a completion_id, or a conversation_id with or without a turn_id",
            reason="MISSING_TARGET",
            field="completion_id",
        )
    for name in ("feedback_id", "completion_id", "conversation_id", "turn_id", "user_id"):
        _check_optional_id(getattr(feedback, name), name)
    _check_index(feedback)
    if feedback.value is not None or not feedback.comment.strip():
        _check_value(feedback.value, limits)
    _check_size(len(feedback.comment.encode()), limits, "comment")
    accepted = replace(
        feedback, tenant=tenant, create_time=_checked_time(feedback.create_time, now)
    )
    return accepted if feedback.feedback_id else replace(accepted, feedback_id=accepted.digest)


def accept_preference(
    preference: Preference, tenant: str, now: datetime, limits: Limits
) -> Preference:
    """The preference with tenant, id and time filled in. Raises as `accept_turn` does."""
    _check_tenant(preference.tenant, tenant)
    _check_user(preference.user_id)
    for name in ("pair_id", "conversation_id", "model_version"):
        _check_optional_id(getattr(preference, name), name)
    if preference.source not in PREFERENCE_SOURCES:
        raise InvalidArgument(
            f"source must be one of {', '.join(PREFERENCE_SOURCES)}",
            reason="INVALID_SOURCE",
            field="source",
        )
    _check_sides(preference, limits)
    accepted = replace(
        preference, tenant=tenant, create_time=_checked_time(preference.create_time, now)
    )
    return accepted if preference.pair_id else replace(accepted, pair_id=accepted.digest)


def _check_sides(preference: Preference, limits: Limits) -> None:
    if not preference.prompt:
        raise InvalidArgument("the prompt is empty", reason="EMPTY_MESSAGE", field="prompt")
    sides = {"chosen": preference.chosen, "rejected": preference.rejected}
    for name, message in sides.items():
        if message.role != "assistant" or not content_of(message):
            raise InvalidArgument(
                f"{name} must be an assistant's message with content",
                reason="EMPTY_MESSAGE",
                field=name,
            )
    if content_of(preference.chosen) == content_of(preference.rejected):
        raise InvalidArgument(
            "chosen and rejected are the same", reason="SAME_ANSWER", field="rejected"
        )
    whole = (*preference.prompt, *sides.values())
    size = sum(len(content_of(message).encode()) for message in whole)
    _check_size(size + len(preference.feedback_text.encode()), limits, "prompt")


def _check_index(feedback: Feedback) -> None:
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
            f"the item is of tenant {said[:40]!r}, the caller of {tenant!r}",
            reason="TENANT_MISMATCH",
            field="tenant",
        )


def _check_user(user_id: str) -> None:
    if not user_id:
        raise InvalidArgument(
            "user_id is required: without it nothing can be learnt of what people want",
            reason="MISSING_USER",
            field="user_id",
        )
    check_segment(user_id, "user_id")


def _check_optional_id(value: str, name: str) -> None:
    if value:
        check_segment(value, name)


def _check_content(turn: Turn, limits: Limits) -> None:
    content = content_of(turn.message)
    if not content:
        raise InvalidArgument("the message is empty", reason="EMPTY_MESSAGE", field="message.parts")
    metadata = sum(len(key) + len(value.encode()) for key, value in turn.metadata.items())
    _check_size(len(content.encode()) + metadata, limits, "message")


def _check_size(size_bytes: int, limits: Limits, name: str) -> None:
    if size_bytes > limits.max_turn_bytes:
        raise InvalidArgument(
            f"{name} has {size_bytes} bytes; at most {limits.max_turn_bytes} are taken",
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
            check_segment(name, "category")
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
