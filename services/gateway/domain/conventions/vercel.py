"""Vercel's AI SDK (`experimental_telemetry`): `ai.prompt.messages`, `ai.response.*`.

Each step of `generateText` or `streamText` has a span of its own, such as `ai.generateText.doGenerate`. Only
these are calls: the span around them repeats the first question and the last answer.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from services.gateway.domain.conventions.convention import Convention, ModelCall
from services.gateway.domain.telemetry import Span
from shared.language.errors import InvalidArgument
from shared.language.identifiers import stable_id
from shared.language.json_text import decode
from shared.language.messages import Media, Message, Part, Text, ToolCall, ToolResult
from shared.language.openai_messages import read_message

_OPERATION, _PROMPT = "ai.operationId", "ai.prompt.messages"
_ROLES = {"user": "user", "assistant": "assistant", "tool": "tool"}
# Older versions of the SDK say `result`.
_ANSWERS = ("ai.response", "ai.result")


def read(span: Span) -> ModelCall:
    held = span.attributes
    asked = _list(held.get(_PROMPT), _PROMPT)
    messages = [_message(one, f"{_PROMPT}[{place}]") for place, one in enumerate(asked)]
    answer = next((one for name in _ANSWERS if (one := _answer(held, name)).parts), None)
    return ModelCall([one for one in messages if one is not None], [answer] if answer else [])


def _answer(held: Mapping[str, Any], name: str) -> Message:
    said = held.get(f"{name}.text") or held.get(f"{name}.object") or ""
    calls = _list(held.get(f"{name}.toolCalls"), f"{name}.toolCalls")
    parts = [Text(str(said))] if said else []
    return Message(
        "assistant", (*parts, *(_call(one) for one in calls if isinstance(one, Mapping)))
    )


def _message(said: Any, field: str) -> Message | None:
    """None for a system message."""
    role = said.get("role") if isinstance(said, Mapping) else None
    if role == "system":
        return None
    content = said.get("content") if isinstance(said, Mapping) else None
    if role not in _ROLES or not isinstance(content, list):
        return read_message(said, field)
    parts = [_part(one) for one in content if isinstance(one, Mapping)]
    return Message(_ROLES[role], tuple(part for part in parts if part is not None))


def _part(part: Mapping[str, Any]) -> Part | None:
    kind = str(part.get("type") or "")
    if kind == "reasoning":
        return None
    if kind == "text":
        return Text(str(part.get("text") or ""))
    if kind == "tool-call":
        return _call(part)
    if kind == "tool-result":
        output = part.get("output", part.get("result"))
        if isinstance(output, Mapping) and "value" in output:
            output = output["value"]
        return ToolResult(str(part.get("toolCallId") or ""), _text(output))
    uri = next((part[name] for name in ("url", "data", "image") if name in part), "")
    if not isinstance(uri, str) or not uri.startswith(("http:", "https:")):
        uri = f"sha256:{stable_id(_text(uri or part), length=64)}"
    return Media(uri, str(part.get("mediaType") or part.get("mimeType") or kind))


def _call(call: Mapping[str, Any]) -> ToolCall:
    """What the tool was given is text in an answer and an object in a history: written alike, both are one
    turn."""
    given = call.get("input", call.get("args"))
    if isinstance(given, str):
        with contextlib.suppress(ValueError, RecursionError):
            given = decode(given.encode())
    return ToolCall(
        str(call.get("toolCallId") or ""), str(call.get("toolName") or ""), _text(given)
    )


def _list(value: Any, field: str) -> list[Any]:
    """JSON text of a list; nothing is an empty one."""
    if value is None:
        return []
    try:
        found = decode(value.encode()) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"{field} is not JSON: {error}", reason="MALFORMED_JSON", field=field
        ) from error
    if not isinstance(found, list):
        raise InvalidArgument(f"{field} must be a list", reason="INVALID_ATTRIBUTE", field=field)
    return found


def _text(said: Any) -> str:
    return said if isinstance(said, str) else json.dumps(said, sort_keys=True, ensure_ascii=False)


VERCEL = Convention(
    "vercel",
    lambda span: _OPERATION in span.attributes,
    lambda span: str(span.attributes[_OPERATION]).endswith((".doGenerate", ".doStream")),
    read,
    "leave recordInputs and recordOutputs of experimental_telemetry switched on",
    _PROMPT,
)
