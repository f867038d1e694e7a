"""LangSmith's tracing over OTLP (LangChain, LangGraph, `@traceable`): runs as JSON in `gen_ai.prompt` and
`gen_ai.completion`. Only runs of kind llm are calls to a model."""

from __future__ import annotations

from services.gateway.domain.conventions.convention import Convention, ModelCall
from services.gateway.domain.conventions.semconv import is_inference
from services.gateway.domain.telemetry import Span
from shared.language.loose_messages import read_loosely

_KIND, _ASKED, _ANSWERED = "langsmith.span.kind", "gen_ai.prompt", "gen_ai.completion"


def owns(span: Span) -> bool:
    return any(name in span.attributes for name in (_KIND, _ASKED, _ANSWERED))


def is_call(span: Span) -> bool:
    """Other instrumentations use the same two attributes, and say by the operation's name what a span is."""
    kind = span.attributes.get(_KIND)
    return is_inference(span.attributes) if kind is None else str(kind).lower() == "llm"


def read(span: Span) -> ModelCall:
    held = span.attributes
    return ModelCall(
        read_loosely(held.get(_ASKED), _ASKED, "user"),
        read_loosely(held.get(_ANSWERED), _ANSWERED, "assistant"),
    )


LANGSMITH = Convention(
    "langsmith",
    owns,
    is_call,
    read,
    "unset LANGSMITH_HIDE_INPUTS and LANGSMITH_HIDE_OUTPUTS",
    _ASKED,
)
