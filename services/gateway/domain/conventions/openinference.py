"""OpenInference (Arize, Phoenix): `llm.input_messages.N.message.*`, otherwise `input.value`.

Only spans of kind LLM are calls; chains, agents and tools repeat them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.gateway.domain.conventions.convention import Convention, ModelCall
from services.gateway.domain.nested import numbered, tree_of
from services.gateway.domain.telemetry import Span
from shared.language.json_text import decode
from shared.language.loose_messages import read_loosely
from shared.language.messages import Message
from shared.language.openai_messages import read_message

_KIND = "openinference.span.kind"
_ASKED, _ANSWERED = "llm.input_messages", "llm.output_messages"


def read(span: Span) -> ModelCall:
    held = span.attributes
    asked, answered = _messages(held, _ASKED, "user"), _messages(held, _ANSWERED, "assistant")
    return ModelCall(
        asked or read_loosely(held.get("input.value"), "input.value", "user"),
        answered or read_loosely(held.get("output.value"), "output.value", "assistant"),
        _completion(held.get("output.value")),
    )


def _messages(attributes: Mapping[str, Any], prefix: str, role: str) -> list[Message]:
    found = [
        read_message(_openai(one.get("message"), role), f"{prefix}.{number}")
        for number, one in numbered(tree_of(attributes, prefix))
    ]
    return [message for message in found if message.role != "system"]


def _openai(message: Any, role: str) -> dict[str, Any]:
    """One of its messages in OpenAI's form."""
    said = message if isinstance(message, Mapping) else {}
    parts = [_part(one.get("message_content")) for _, one in numbered(said.get("contents"))]
    calls = [_call(one.get("tool_call")) for _, one in numbered(said.get("tool_calls"))]
    return {
        "role": said.get("role") or role,
        "content": parts or said.get("content"),
        "tool_calls": calls,
        "tool_call_id": said.get("tool_call_id"),
        "name": said.get("name"),
        "function_call": {
            "name": said["function_call_name"],
            "arguments": said.get("function_call_arguments_json"),
        }
        if said.get("function_call_name")
        else None,
    }


def _part(content: Any) -> dict[str, Any]:
    """A text, or media by its address: `image.image.url` holds the same thing twice."""
    said = content if isinstance(content, Mapping) else {}
    kind = str(said.get("type") or "text")
    if kind == "text" or "text" in said:
        return {"type": "text", "text": said.get("text") or ""}
    held = said.get(kind)
    return {"type": kind, kind: held.get(kind, held) if isinstance(held, Mapping) else held}


def _call(call: Any) -> dict[str, Any]:
    said = call if isinstance(call, Mapping) else {}
    return {"id": said.get("id"), "function": said.get("function") or {}}


def _completion(value: Any) -> str:
    """The id in an answer that was kept as the model server's JSON."""
    if not isinstance(value, str) or not value.startswith("{"):
        return ""
    try:
        found = decode(value.encode())
    except (ValueError, RecursionError):
        return ""
    return str(found.get("id") or "") if isinstance(found, dict) and "choices" in found else ""


OPENINFERENCE = Convention(
    "openinference",
    lambda span: _KIND in span.attributes,
    lambda span: str(span.attributes[_KIND]).upper() == "LLM",
    read,
    "unset OPENINFERENCE_HIDE_INPUTS, OPENINFERENCE_HIDE_OUTPUTS and the like",
    _ASKED,
)
