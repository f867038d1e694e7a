"""GenAI spans and events of OpenTelemetry: what is logged of each.

The conversation is `gen_ai.conversation.id`, or the trace. The user is the first of USER_KEYS on the span, then
on the resource, otherwise an anonymous one for each conversation. The version is the response's model, the
completion's id the response's. A span repeats its history. A turn's id follows from its place and content,
so that what was logged before counts once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from services.gateway.domain.genai import (
    INPUT,
    OUTPUT,
    read_choice,
    read_event,
    read_indexed,
    read_messages,
    read_openai,
)
from shared.language.errors import InvalidArgument, TrimtabError
from shared.language.identifiers import (
    completion_id_of,
    conversation_id_of,
    model_id_of,
    stable_id,
    user_id_of,
)
from shared.language.messages import Message
from shared.language.openai_messages import has_content
from shared.language.opinions import Category, ExplicitFeedback, Rating
from shared.language.turns import Turn

CHANNEL = "otlp"
USER_KEYS = (
    "user.id",
    "enduser.id",
    "gen_ai.user.id",
    "gen_ai.user",
    "enduser.pseudo.id",
    "traceloop.association.properties.user_id",
    "langfuse.user.id",
)
CONVERSATION_KEYS = ("gen_ai.conversation.id",)
COMPLETION_KEYS = ("gen_ai.response.id",)
VERSION_KEYS = ("gen_ai.response.model", "gen_ai.request.model")
EVALUATION = "gen_ai.evaluation.result"
DETAILS = "gen_ai.client.inference.operation.details"
# Spans of other operations (agents, tools, embeddings) repeat or prepare these.
_INFERENCE = ("chat", "text_completion", "generate_content", "completion", "")


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a span, or a log record. The `body` of a span's event is its attributes."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any]
    body: Any = None
    trace_id: str = ""
    span_id: str = ""
    resource: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """Ids in hex, times in Unix nanoseconds, 0 if unknown."""

    trace_id: str
    span_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Unread:
    """A span or log record that could not be read. `span_id` as it came, for people."""

    span_id: str
    error: TrimtabError


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """What a span has besides its messages."""

    conversation_id: str
    user_id: str
    model_version: str = ""
    completion_id: str = ""


@dataclass(frozen=True, slots=True)
class Extracted:
    """What is logged of a span or of some events."""

    turns: tuple[Turn, ...] = ()
    feedback: tuple[ExplicitFeedback, ...] = ()
    # Whether it is a call to a model that carries no messages.
    without_content: bool = False


def is_genai(span: Span) -> bool:
    return any(name.startswith("gen_ai.") for name in span.attributes) or any(
        event.name.startswith("gen_ai.") for event in span.events
    )


def is_inference(attributes: Mapping[str, Any]) -> bool:
    return str(attributes.get("gen_ai.operation.name") or "") in _INFERENCE


def facts_of(
    attributes: Mapping[str, Any], resource: Mapping[str, Any], trace_id: str
) -> SpanFacts:
    """InvalidArgument if nothing identifies the conversation."""
    conversation = _named((attributes,), CONVERSATION_KEYS, conversation_id_of) or trace_id
    if not conversation:
        raise InvalidArgument(
            "the conversation is unknown: set gen_ai.conversation.id, or send a trace id",
            reason="MISSING_ATTRIBUTE",
            field="gen_ai.conversation.id",
        )
    return SpanFacts(
        conversation_id=conversation,
        user_id=_named((attributes, resource), USER_KEYS, user_id_of) or _nobody(conversation),
        model_version=_named((attributes,), VERSION_KEYS, model_id_of),
        completion_id=_named((attributes,), COMPLETION_KEYS, completion_id_of),
    )


def read_span(span: Span, tenant: str) -> Extracted:
    """InvalidArgument names the attribute that is missing or cannot be read."""
    facts = facts_of(span.attributes, span.resource, span.trace_id)
    feedback = tuple(_evaluation(event, facts) for event in span.events if event.name == EVALUATION)
    if not is_inference(span.attributes):
        return Extracted(feedback=feedback)
    asked, answered = _said(span)
    if answered and not asked:
        raise InvalidArgument(
            "the span has an answer but not the messages that led to it, so the answer's place is unknown",
            reason="MISSING_ATTRIBUTE",
            field=INPUT,
        )
    traced = {"trace_id": span.trace_id, "span_id": span.span_id}
    times = (time_of(span.start_ns), time_of(span.end_ns))
    return Extracted(
        turns_of([*asked, *answered[:1]], len(asked), facts, tenant, times, traced), feedback
    )


def turns_of(
    messages: Sequence[Message],
    answer: int,
    facts: SpanFacts,
    tenant: str,
    times: tuple[datetime | None, datetime | None],
    metadata: Mapping[str, str],
    first: int = 0,
) -> tuple[Turn, ...]:
    """Messages from place `first` on; the one at `answer` is the model's in this span, at the second of
    `times`. Versions of earlier answers are unknown here."""
    turns = [
        Turn(
            tenant=tenant,
            conversation_id=facts.conversation_id,
            index=first + place,
            message=message,
            user_id=facts.user_id,
            create_time=times[0],
            channel=CHANNEL,
        )
        for place, message in enumerate(messages)
    ]
    if answer < len(turns):
        turns[answer] = replace(
            turns[answer],
            create_time=times[1],
            model_version=facts.model_version,
            completion_id=facts.completion_id,
            metadata=metadata,
        )
    return tuple(turn for turn in turns if has_content(turn.message))


def read_details(event: Event, tenant: str) -> Extracted:
    """A log record that contains a whole call, as a span does."""
    span = Span(
        event.trace_id,
        event.span_id,
        event.time_ns,
        event.time_ns,
        event.attributes or (event.body if isinstance(event.body, Mapping) else {}),
        event.resource,
    )
    return read_span(span, tenant)


def read_evaluation(event: Event) -> ExplicitFeedback:
    """A `gen_ai.evaluation.result` that was sent as a log record."""
    return _evaluation(event, facts_of(event.attributes, event.resource, event.trace_id))


def _said(span: Span) -> tuple[list[Message], list[Message]]:
    """The messages and the answer, from the first format that has any."""
    held = span.attributes
    if INPUT in held or OUTPUT in held:
        return (
            read_messages(held.get(INPUT) or [], INPUT),
            read_messages(held.get(OUTPUT) or [], OUTPUT),
        )
    for event in span.events:
        if event.name == DETAILS:
            return _said(replace(span, attributes=event.attributes, events=()))
    indexed = read_indexed(held, "prompt"), read_indexed(held, "completion")
    return indexed if any(indexed) else _said_in_events(span.events)


def _said_in_events(events: Sequence[Event]) -> tuple[list[Message], list[Message]]:
    asked: list[Message] = []
    answered: list[Message] = []
    for event in events:
        body = event.body if event.body is not None else event.attributes
        if event.name == "gen_ai.content.prompt":
            asked += read_openai(event.attributes.get("gen_ai.prompt"), "gen_ai.prompt")
        elif event.name == "gen_ai.content.completion":
            found = event.attributes.get("gen_ai.completion")
            answered += read_openai(found, "gen_ai.completion")
        elif event.name == "gen_ai.choice":
            choice = read_choice(body, event.name)
            answered += [choice] if choice else []
        elif (message := read_event(event.name, body, event.name)) is not None:
            asked.append(message)
    return asked, answered


def _evaluation(event: Event, facts: SpanFacts) -> ExplicitFeedback:
    """The score on its scale (0 to 1 if none is given), otherwise the label, otherwise the explanation."""
    held = event.attributes
    completion = _named((held,), COMPLETION_KEYS, completion_id_of) or facts.completion_id
    given = ExplicitFeedback(
        tenant="",
        completion_id=completion,
        conversation_id="" if completion else facts.conversation_id,
        user_id="" if facts.user_id.startswith("anonymous-") else facts.user_id,
        comment=str(held.get("gen_ai.evaluation.explanation") or ""),
        create_time=time_of(event.time_ns),
    )
    label = str(held.get("gen_ai.evaluation.score.label") or "")
    if held.get("gen_ai.evaluation.score.value") is not None:
        scale = [f"gen_ai.evaluation.score.{name}" for name in ("value", "min", "max")]
        value, low, high = (
            _number(held.get(name, default), name)
            for name, default in zip(scale, (None, 0.0, 1.0), strict=True)
        )
        return replace(given, value=Rating(value, low, high))
    if label:
        return replace(given, value=Category(label))
    if given.comment.strip():
        return given
    raise InvalidArgument(
        "the evaluation has no score, no label and no explanation",
        reason="MISSING_ATTRIBUTE",
        field="gen_ai.evaluation.score.value",
    )


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidArgument(f"{name} must be a number", reason="INVALID_ATTRIBUTE", field=name)
    return float(value)


def _named(
    attributes: Sequence[Mapping[str, Any]], keys: Sequence[str], id_of: Callable[[object], str]
) -> str:
    """The id by the first of the keys that names something, looked up in each of `attributes` in turn."""
    found = (id_of(held.get(key)) for held in attributes for key in keys)
    return next((one for one in found if one), "")


def _nobody(conversation: str) -> str:
    """An anonymous user for each conversation."""
    return f"anonymous-{stable_id(CHANNEL, conversation, length=16)}"


def time_of(nanoseconds: int) -> datetime | None:
    """None if it is not given. InvalidArgument if it is outside the calendar, as for any absurd time."""
    if not nanoseconds:
        return None
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidArgument(
            f"{nanoseconds} ns is not a time", reason="ABSURD_TIME", field="time"
        ) from error
