"""The Langfuse SDK over OTLP: `langfuse.observation.*`. Only generations are calls to a model.

The completion's id is the observation's, which is the span's: scores name it.
"""

from __future__ import annotations

from services.gateway.domain.conventions.convention import Convention, ModelCall
from services.gateway.domain.telemetry import Span
from shared.language.loose_messages import read_loosely
from shared.language.messages import Message

_OBSERVATION, _TRACE = "langfuse.observation", "langfuse.trace"
_TYPE, _MODEL = f"{_OBSERVATION}.type", f"{_OBSERVATION}.model.name"


def owns(span: Span) -> bool:
    """The SDK marks spans of other instrumentations, too, but says nothing of what was said in them."""
    return any(f"{_OBSERVATION}.{name}" in span.attributes for name in ("type", "input", "output"))


def is_call(span: Span) -> bool:
    """Without a type, as when the attributes are set by hand, what names a model."""
    said = str(span.attributes.get(_TYPE) or "").lower()
    return said == "generation" or (not said and _MODEL in span.attributes)


def read(span: Span) -> ModelCall:
    return ModelCall(
        _messages(span, "input", "user"), _messages(span, "output", "assistant"), span.span_id
    )


def _messages(span: Span, which: str, role: str) -> list[Message]:
    """Of the observation, otherwise of its trace."""
    for name in (f"{_OBSERVATION}.{which}", f"{_TRACE}.{which}"):
        if found := read_loosely(span.attributes.get(name), name, role):
            return found
    return []


LANGFUSE = Convention(
    "langfuse",
    owns,
    is_call,
    read,
    "give generations their `input` and `output`, and let no `mask` remove them",
    f"{_OBSERVATION}.input",
)
