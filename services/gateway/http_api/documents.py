"""The bodies of the REST routes, and their meaning as domain values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from services.gateway.app.ingesting import PlacedTurn
from services.gateway.http_api.names import (
    AssessmentName,
    Completion,
    Conversation,
    FeedbackName,
    MetadataValue,
    Model,
    PairName,
    RequiredUser,
    TurnName,
    User,
)
from shared.language.assessments import Assessment
from shared.language.attempts import too_deep
from shared.language.errors import InvalidArgument
from shared.language.identifiers import stable_id
from shared.language.json_text import TOO_DEEP
from shared.language.messages import Message, text_message
from shared.language.openai_messages import has_content, read_message
from shared.language.opinions import Category, Demonstration, ExplicitFeedback, Rating, Value
from shared.language.pairs import Pair, PairSource
from shared.language.policies import check_policy_id
from shared.language.sides import parted
from shared.language.turns import Turn

M = TypeVar("M", bound=BaseModel)
# What the API of interaction can count.
_MOST_MESSAGES = 2**31 - 1


class MessageDocument(BaseModel):
    """An OpenAI message with all its fields, when it was said, and by which version. `index`: its place in the
    conversation, where the document does not begin with the first message or has branches; without one it
    follows on the message before it. `signal`: it replaces the turn `replaces_turn_id`."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    role: str
    created: datetime | None = None
    model_version: Model = ""
    completion_id: Completion = ""
    index: int | None = Field(default=None, ge=0, le=_MOST_MESSAGES)
    turn_id: TurnName = ""
    signal: Literal["", "regeneration", "edit"] = ""
    replaces_turn_id: TurnName = ""


class ConversationDocument(BaseModel):
    id: Conversation = ""
    user: RequiredUser
    created: datetime | None = None
    channel: str = "rest"
    policy: str = ""
    metadata: dict[str, MetadataValue] = {}
    messages: list[MessageDocument] = Field(min_length=1)


class FeedbackDocument(BaseModel):
    """`value`: a bool for a thumb, a number with `min` and `max`, or a string for a category. The
    target: a completion, or a conversation with or without a message of it: its `turn_id`, or its
    place (`message`, from 0, system messages not counted)."""

    id: FeedbackName = ""
    completion_id: Completion = ""
    conversation_id: Conversation = ""
    turn_id: TurnName = ""
    message: int | None = Field(default=None, ge=0, le=_MOST_MESSAGES)
    mode: Literal["add", "replace"] = "add"
    user: User = ""
    value: StrictBool | float | str | None = None
    min: float | None = None
    max: float | None = None
    category: str = ""
    demonstration: str = ""
    comment: str = ""
    created: datetime | None = None


class AssessmentDocument(BaseModel):
    """What an evaluator said: `name` is what was measured, `value` a number on the evaluator's own scale. The
    target is as for feedback, without a place."""

    id: AssessmentName = ""
    name: str = Field(min_length=1)
    completion_id: Completion = ""
    conversation_id: Conversation = ""
    turn_id: TurnName = ""
    user: User = ""
    value: float | None = None
    label: str = ""
    explanation: str = ""
    evaluator: str = ""
    created: datetime | None = None


class PreferenceDocument(BaseModel):
    """`prompt`: a string for one user message, or OpenAI messages; so are the two answers, which may repeat the
    prompt and what else they have in common."""

    model_config = ConfigDict(protected_namespaces=())

    id: PairName = ""
    user: RequiredUser
    conversation_id: Conversation = ""
    source: Literal["import", "arena_vote"] = "import"
    prompt: str | list[Any]
    chosen: str | list[Any]
    rejected: str | list[Any]
    model_version: Model = ""
    policy: str = ""
    comment: str = ""
    created: datetime | None = None


def parse(kind: type[M], document: object) -> M:
    """InvalidArgument that names the first wrong field."""
    if document == TOO_DEEP:
        raise too_deep()
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ""
        for part in first["loc"]:
            name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else str(part)
        raise InvalidArgument(
            f"{name or 'item'}: {first['msg']}", reason="INVALID_BODY", field=name
        ) from error


def items_of(body: dict[str, Any], name: str) -> list[object]:
    items = body.get(name)
    if not isinstance(items, list) or not items:
        raise InvalidArgument(
            f"{name} must be a list with at least one item", reason="INVALID_BODY", field=name
        )
    return items


def read_conversation(item: tuple[int, object], tenant: str) -> list[PlacedTurn]:
    """The turns of one conversation; `item` is its place and its document. InvalidArgument refuses it as a
    whole: a conversation with a hole would teach something false."""
    place, document = item
    read = parse(ConversationDocument, document)
    messages = [
        read_message(one.model_dump(), f"messages[{number}]")
        for number, one in enumerate(read.messages)
    ]
    for number, message in enumerate(messages):
        if not has_content(message):
            field = f"messages[{number}].content"
            raise InvalidArgument(f"{field} is empty", reason="EMPTY_MESSAGE", field=field)
    conversation = read.id or _derived(read, tenant)
    check_policy_id(read.policy)
    placed: list[PlacedTurn] = []
    for number, (said, message) in enumerate(zip(read.messages, messages, strict=True)):
        if message.role == "system":
            continue
        turn = Turn(
            tenant=tenant,
            conversation_id=conversation,
            index=_place(said, placed),
            message=message,
            user_id=read.user,
            create_time=_aware(said.created or read.created),
            model_version=said.model_version,
            completion_id=said.completion_id,
            channel=read.channel,
            metadata=read.metadata,
            policy=read.policy,
            turn_id=said.turn_id,
            signal=said.signal,
            replaces_turn_id=said.replaces_turn_id,
        )
        placed.append(PlacedTurn(place, number, turn))
    return placed


def _place(said: MessageDocument, placed: list[PlacedTurn]) -> int:
    if said.index is not None:
        return said.index
    return placed[-1].turn.index + 1 if placed else 0


def read_feedback(document: object) -> list[ExplicitFeedback]:
    """One for each of value, category and demonstration. InvalidArgument if there is none, or a number without
    its scale."""
    read = parse(FeedbackDocument, document)
    target = ExplicitFeedback(
        tenant="",
        completion_id=read.completion_id,
        conversation_id=read.conversation_id,
        turn_id=read.turn_id,
        user_id=read.user,
        comment=read.comment,
        create_time=_aware(read.created),
        index=read.message,
        replaces=read.mode == "replace",
    )
    said = [replace(target, value=value) for value in _values(read)]
    if not said and read.comment.strip():
        said.append(target)
    if not said:
        raise InvalidArgument(
            "feedback needs a value, a category, a demonstration or a comment",
            reason="MISSING_VALUE",
            field="value",
        )
    if read.id:
        # The caller gives one id to what was said together; from here on each has its own.
        numbered = [read.id, *(f"{read.id}.{number}" for number in range(1, len(said)))]
        said = [replace(one, feedback_id=name) for one, name in zip(said, numbered, strict=True)]
    return said


def read_assessment(document: object) -> Assessment:
    """InvalidArgument names the field that is wrong."""
    read = parse(AssessmentDocument, document)
    return Assessment(
        tenant="",
        name=read.name,
        value=read.value,
        label=read.label,
        explanation=read.explanation,
        evaluator=read.evaluator,
        assessment_id=read.id,
        completion_id=read.completion_id,
        conversation_id=read.conversation_id,
        turn_id=read.turn_id,
        user_id=read.user,
        create_time=_aware(read.created),
    )


def read_preference(document: object) -> Pair:
    """InvalidArgument names the field that is wrong."""
    read = parse(PreferenceDocument, document)
    prompt, chosen, rejected = parted(
        _spoken(read.prompt, "user", "prompt"),
        _spoken(read.chosen, "assistant", "chosen"),
        _spoken(read.rejected, "assistant", "rejected"),
    )
    check_policy_id(read.policy)
    return Pair(
        user_id=read.user,
        source=PairSource(read.source),
        prompt=tuple(prompt),
        chosen=_answer(chosen, "chosen"),
        rejected=_answer(rejected, "rejected"),
        pair_id=read.id,
        conversation_id=read.conversation_id,
        model_version=read.model_version,
        policy=read.policy,
        feedback_text=read.comment,
        create_time=_aware(read.created),
    )


def _spoken(said: str | list[Any], role: str, field: str) -> tuple[Message, ...]:
    if isinstance(said, str):
        return (text_message(role, said),)
    return tuple(read_message(one, f"{field}[{place}]") for place, one in enumerate(said))


def _answer(messages: list[Message], field: str) -> Message:
    if len(messages) != 1:
        raise InvalidArgument(f"{field} must be one answer", reason="INVALID_BODY", field=field)
    return messages[0]


def _values(read: FeedbackDocument) -> list[Value]:
    """Everything that was said in one document."""
    values: list[Value] = []
    if read.value is not None:
        values.append(_value(read, read.value))
    if read.category:
        values.append(Category(read.category))
    if read.demonstration:
        values.append(Demonstration(read.demonstration))
    return values


def _value(read: FeedbackDocument, value: bool | float | str) -> Value:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return Category(value)
    if read.min is None or read.max is None:
        raise InvalidArgument(
            "a number needs its scale; give min and max",
            reason="MISSING_SCALE",
            field="min" if read.min is None else "max",
        )
    return Rating(value, read.min, read.max)


def _derived(read: ConversationDocument, tenant: str) -> str:
    """The same document gets the same id, so that a repeated import counts once."""
    said = [str(one.model_dump().get("content", "")) for one in read.messages]
    created = read.created.isoformat() if read.created else ""
    return f"rest-{stable_id(tenant, read.user, created, *said)}"


def _aware(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time
