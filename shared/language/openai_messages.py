"""OpenAI's chat messages as plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping

from shared.language.errors import InvalidArgument
from shared.language.identifiers import stable_id
from shared.language.messages import Media, Message, Part, Text, ToolCall, ToolResult

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def read_message(message: object, name: str) -> Message:
    """An OpenAI message as a value. Raises InvalidArgument if it is not a message or its role is unknown."""
    if not isinstance(message, Mapping):
        raise _wrong(f"{name} must be an object", name)
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise InvalidArgument(
            f"{name}.role must be one of {', '.join(_ROLES)}",
            reason="UNKNOWN_ROLE",
            field=f"{name}.role",
        )
    parts = _content_parts(message.get("content"), f"{name}.content")
    if _ROLES[role] == "tool":
        text = "\n".join(part.text for part in parts if isinstance(part, Text))
        call_id = str(message.get("tool_call_id") or message.get("name") or "")
        return Message("tool", (ToolResult(call_id, text),))
    return Message(_ROLES[role], (*parts, *_tool_calls(message.get("tool_calls"))))


def has_content(message: Message) -> bool:
    return bool(message.text.strip()) or any(not isinstance(p, Text) for p in message.parts)


def _content_parts(content: object, name: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content),)
    if not isinstance(content, list):
        raise _wrong(f"{name} must be a string or a list of parts", name)
    return tuple(_content_part(part, f"{name}[{place}]") for place, part in enumerate(content))


def _content_part(part: object, name: str) -> Part:
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise _wrong(f"{name} must be an object with a type", name)
    kind = part["type"]
    if kind in ("text", "refusal"):
        return Text(str(part.get(kind, "")))
    held = part.get(kind)
    uri = held.get("url") or held.get("file_id") if isinstance(held, Mapping) else held
    # Media is kept by reference; inline data is named by its digest.
    if not isinstance(uri, str) or uri.startswith("data:"):
        uri = f"sha256:{stable_id(json.dumps(held, sort_keys=True, default=str), length=64)}"
    return Media(uri, kind)


def _tool_calls(calls: object) -> tuple[ToolCall, ...]:
    if not isinstance(calls, list):
        return ()
    found = []
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(call, Mapping) and isinstance(function, Mapping):
            name, arguments = str(function.get("name", "")), str(function.get("arguments", ""))
            found.append(ToolCall(str(call.get("id", "")), name, arguments))
    return tuple(found)


def _wrong(message: str, name: str) -> InvalidArgument:
    return InvalidArgument(message, reason="INVALID_BODY", field=name)
