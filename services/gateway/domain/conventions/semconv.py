"""OpenTelemetry's GenAI conventions, in every format that is in use: OpenTelemetry's own instrumentations,
OpenLLMetry, Pydantic AI, LiteLLM and others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.gateway.domain.conventions.convention import Convention, ModelCall
from services.gateway.domain.genai import (
    INPUT,
    OUTPUT,
    read_choice,
    read_event,
    read_indexed,
    read_messages,
    read_openai,
)
from services.gateway.domain.telemetry import Event, Span
from shared.language.messages import Message

DETAILS = "gen_ai.client.inference.operation.details"
# Spans of other operations (agents, tools, embeddings) repeat or prepare these.
_INFERENCE = ("chat", "text_completion", "generate_content", "completion", "")


def is_genai(span: Span) -> bool:
    return any(name.startswith("gen_ai.") for name in span.attributes) or any(
        event.name.startswith("gen_ai.") for event in span.events
    )


def is_inference(attributes: Mapping[str, Any]) -> bool:
    return str(attributes.get("gen_ai.operation.name") or "") in _INFERENCE


def read(span: Span) -> ModelCall:
    """From the first format that has any messages."""
    held = span.attributes
    if INPUT in held or OUTPUT in held:
        return ModelCall(
            read_messages(held.get(INPUT) or [], INPUT),
            read_messages(held.get(OUTPUT) or [], OUTPUT),
        )
    for event in span.events:
        if event.name == DETAILS:
            return read(replace(span, attributes=event.attributes, events=()))
    asked, answered = read_indexed(held, "prompt"), read_indexed(held, "completion")
    return ModelCall(asked, answered) if asked or answered else _in_events(span.events)


def _in_events(events: Sequence[Event]) -> ModelCall:
    call = ModelCall([], [])
    for event in events:
        body = event.body if event.body is not None else event.attributes
        if event.name == "gen_ai.content.prompt":
            call.asked.extend(_openai(event, "gen_ai.prompt"))
        elif event.name == "gen_ai.content.completion":
            call.answered.extend(_openai(event, "gen_ai.completion"))
        elif event.name == "gen_ai.choice":
            choice = read_choice(body, event.name)
            call.answered.extend([choice] if choice else [])
        elif (message := read_event(event.name, body, event.name)) is not None:
            call.asked.append(message)
    return call


def _openai(event: Event, name: str) -> list[Message]:
    return read_openai(event.attributes.get(name), name)


SEMCONV = Convention(
    "gen_ai",
    is_genai,
    lambda span: is_inference(span.attributes),
    read,
    "set OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_only and"
    " OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental (Traceloop: TRACELOOP_TRACE_CONTENT=true)",
    INPUT,
)
