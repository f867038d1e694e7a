"""The system messages of a call that was reported over OpenTelemetry, in any convention. They are not part
of a conversation; how they begin tells side calls from the chat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.gateway.domain.telemetry import Event, Span
from shared.language.json_text import decode

# Where a call's system messages stand, or its messages, of which the first ones may be such.
_HELD_IN = (
    "gen_ai.system_instructions",
    "gen_ai.input.messages",
    "ai.prompt.messages",
    "ai.prompt",
    "langfuse.observation.input",
    "input.value",
)
_INDEXED = (
    ("gen_ai.prompt.0.role", "gen_ai.prompt.0.content"),
    ("llm.input_messages.0.message.role", "llm.input_messages.0.message.content"),
)
_SYSTEM = ("system", "developer")
_MESSAGE = "gen_ai.system.message"


def instructions_of(attributes: Mapping[str, Any]) -> str:
    """Empty if there are none, or none that can be read: then the call is taken for one of the chat."""
    for name in _HELD_IN:
        if said := _said(_parsed(attributes.get(name)), name == _HELD_IN[0]):
            return said
    for role, content in _INDEXED:
        if attributes.get(role) in _SYSTEM:
            return str(attributes.get(content) or "")
    return ""


def instructions_in(span: Span) -> str:
    """On the span or in its events."""
    found = instructions_of(span.attributes)
    return found or next(filter(None, map(instructions_of_event, span.events)), "")


def instructions_of_event(event: Event) -> str:
    if event.name == _MESSAGE:
        return _text_of(event.body if event.body is not None else event.attributes)
    held = event.attributes or (event.body if isinstance(event.body, Mapping) else {})
    return instructions_of(held)


def _text_of(content: object) -> str:
    """Of a text, a part, a message, or a list of these."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return _text_of(
            next((content[key] for key in ("content", "parts", "text") if key in content), "")
        )
    if isinstance(content, Sequence):
        return "\n".join(_text_of(one) for one in content)
    return ""


def _said(held: object, all_of_it: bool) -> str:
    if all_of_it:
        return _text_of(held)
    if isinstance(held, Mapping):
        return _text_of(held.get("system") or "") or _said(held.get("messages"), False)
    if not isinstance(held, list):
        return ""
    system = [one for one in held[:2] if isinstance(one, Mapping) and one.get("role") in _SYSTEM]
    return _text_of(system)


def _parsed(held: object) -> object:
    """JSON text as what it says; other text as it is."""
    if not isinstance(held, str) or not held.lstrip().startswith(("[", "{")):
        return held
    try:
        return decode(held.encode())
    except (ValueError, RecursionError):
        return ""
