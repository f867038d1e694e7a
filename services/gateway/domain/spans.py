"""Spans of calls to models, in any of the conventions: what is logged of each.

The conversation, the user, the version and the completion's id are what facts.py finds. A span repeats its
history. A turn's id follows from its place and content, so that what was logged before counts once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.gateway.domain.conventions.convention import Convention
from services.gateway.domain.conventions.table import UNKNOWN, convention_of, unknown_prefix
from services.gateway.domain.evaluations import EVALUATION, Opinion, read_evaluation
from services.gateway.domain.facts import CHANNEL, SpanFacts, facts_of
from services.gateway.domain.telemetry import Event, Span, time_of
from shared.language.errors import InvalidArgument
from shared.language.identifiers import completion_id_of
from shared.language.messages import Message
from shared.language.openai_messages import has_content
from shared.language.turns import Turn

_UNKNOWN = (
    "their messages are in attributes `{}.*`, which is not a convention that is read here; use an"
    " instrumentation that writes OpenTelemetry GenAI, OpenInference, Langfuse, LangSmith or Vercel AI SDK"
    " spans"
)
_SILENT = "they carry no messages; {}"


@dataclass(frozen=True, slots=True)
class Extracted:
    """What is logged of a span or of some events."""

    turns: tuple[Turn, ...] = ()
    opinions: tuple[Opinion, ...] = ()
    # How the call to a model was told; empty if it was none.
    convention: str = ""
    # Why nothing of the call is logged and what its sender can do; empty if something is.
    advice: str = ""


def read_span(span: Span, tenant: str) -> Extracted | None:
    """None for telemetry of other things. InvalidArgument names the attribute that is missing or cannot be
    read."""
    convention = convention_of(span)
    if convention is None:
        prefix = unknown_prefix(span.attributes)
        return Extracted(convention=UNKNOWN, advice=_UNKNOWN.format(prefix)) if prefix else None
    facts = facts_of(span.attributes, span.resource, span.trace_id)
    opinions = tuple(read_evaluation(one, facts) for one in span.events if one.name == EVALUATION)
    if not convention.is_call(span):
        return Extracted(opinions=opinions)
    turns = _call_turns(span, convention, facts, tenant)
    advice = "" if turns else _SILENT.format(convention.capture)
    return Extracted(turns, opinions, convention.name, advice)


def _call_turns(
    span: Span, convention: Convention, facts: SpanFacts, tenant: str
) -> tuple[Turn, ...]:
    call = convention.read(span)
    if call.answered and not call.asked:
        raise InvalidArgument(
            "the span has an answer but not the messages that led to it, so the answer's place is unknown:"
            f" {convention.capture}",
            reason="MISSING_ATTRIBUTE",
            field=convention.asked,
        )
    if call.completion and not facts.completion_id:
        facts = replace(facts, completion_id=completion_id_of(call.completion))
    traced = {"trace_id": span.trace_id, "span_id": span.span_id}
    times = (time_of(span.start_ns), time_of(span.end_ns))
    said = [*call.asked, *call.answered[:1]]
    return turns_of(said, len(call.asked), facts, tenant, times, traced)


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
    return read_span(span, tenant) or Extracted()
