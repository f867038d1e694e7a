"""The bodies of the REST doors, and what they say in the gateway's own words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from services.gateway.app.ingesting import PlacedTurn
from services.gateway.domain.chat import has_content, read_message
from services.gateway.domain.turns import GivenFeedback, LoggedTurn, Rating
from shared.errors import InvalidArgument
from shared.identifiers import check_segment, stable_id

M = TypeVar("M", bound=BaseModel)


class MessageDocument(BaseModel):
    """An OpenAI message (all its fields are taken), when it was said and by which version."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    role: str
    created: datetime | None = None
    model_version: str = ""
    completion_id: str = ""


class ConversationDocument(BaseModel):
    id: str = ""
    user: str = Field(min_length=1)
    created: datetime | None = None
    channel: str = "rest"
    metadata: dict[str, str] = {}
    messages: list[MessageDocument] = Field(min_length=1)


class FeedbackDocument(BaseModel):
    """`value`: a bool for a thumb, a number with `min` and `max`, or a string for a category."""

    id: str = ""
    completion_id: str = ""
    conversation_id: str = ""
    turn_id: str = ""
    user: str = ""
    value: StrictBool | float | str | None = None
    min: float | None = None
    max: float | None = None
    category: str = ""
    demonstration: str = ""
    comment: str = ""
    created: datetime | None = None


def parse(kind: type[M], document: object) -> M:
    """InvalidArgument that names the first wrong field."""
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


def read_conversation(document: object, place: int, tenant: str) -> list[PlacedTurn]:
    """The turns of one conversation. InvalidArgument refuses it as a whole: a conversation with a
    hole would teach something false."""
    read = parse(ConversationDocument, document)
    check_segment(read.user, "user")
    messages = [
        read_message(one.model_dump(), f"messages[{number}]")
        for number, one in enumerate(read.messages)
    ]
    for number, message in enumerate(messages):
        if not has_content(message):
            field = f"messages[{number}].content"
            raise InvalidArgument(f"{field} is empty", reason="EMPTY_MESSAGE", field=field)
    conversation = read.id or _derived(read, tenant)
    check_segment(conversation, "id")
    placed: list[PlacedTurn] = []
    for number, (said, message) in enumerate(zip(read.messages, messages, strict=True)):
        if message.role == "system":
            continue
        turn = LoggedTurn(
            tenant=tenant,
            conversation_id=conversation,
            index=len(placed),
            message=message,
            user_id=read.user,
            create_time=_aware(said.created or read.created),
            model_version=said.model_version,
            completion_id=said.completion_id,
            channel=read.channel,
            metadata=read.metadata,
        )
        placed.append(PlacedTurn(place, number, turn))
    return placed


def read_feedback(document: object) -> list[GivenFeedback]:
    """One for each thing that was said: a value, a category, a demonstration. InvalidArgument if
    there is none, or a number without its scale."""
    read = parse(FeedbackDocument, document)
    target = GivenFeedback(
        completion_id=read.completion_id,
        conversation_id=read.conversation_id,
        turn_id=read.turn_id,
        user_id=read.user,
        comment=read.comment,
        create_time=_aware(read.created),
    )
    values = [value for value in (_value(read), read.category or None) if value is not None]
    said = [_with(target, value=value) for value in values]
    if read.demonstration:
        said.append(_with(target, demonstration=read.demonstration))
    if not said:
        raise InvalidArgument(
            "feedback needs a value, a category or a demonstration",
            reason="MISSING_VALUE",
            field="value",
        )
    return said


def _value(read: FeedbackDocument) -> bool | Rating | str | None:
    if isinstance(read.value, bool | str) or read.value is None:
        return read.value
    if read.min is None or read.max is None:
        raise InvalidArgument(
            "a number needs its scale: min and max",
            reason="MISSING_SCALE",
            field="min" if read.min is None else "max",
        )
    return Rating(read.value, read.min, read.max)


def _with(target: GivenFeedback, **said: Any) -> GivenFeedback:
    fields = {name: getattr(target, name) for name in GivenFeedback.__slots__}
    return GivenFeedback(**{**fields, **said})


def _derived(read: ConversationDocument, tenant: str) -> str:
    """The same document makes the same id, so that a repeated import counts once."""
    said = [str(one.model_dump().get("content", "")) for one in read.messages]
    created = read.created.isoformat() if read.created else ""
    return f"rest-{stable_id(tenant, read.user, created, *said)}"


def _aware(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time
