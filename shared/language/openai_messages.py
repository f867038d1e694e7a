"""OpenAI's chat messages as plain values: whatever a model can say in one is kept, as text, a call or media."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

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
# The fields of a message that are read, and those that say nothing to be kept.
FIELDS = frozenset(
    (
        *("role", "content", "name", "tool_calls", "tool_call_id", "function_call", "refusal"),
        *("audio", "annotations", "reasoning", "reasoning_content", "logprobs", "weight"),
    )
)


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
        media = (part for part in parts if not isinstance(part, Text))
        return Message("tool", (ToolResult(call_id, text), *media))
    if len(message) == 2 and "content" in message:  # as almost all have it: nothing beside
        return Message(_ROLES[role], parts)
    return Message(_ROLES[role], (*parts, *_beside_content(message)))


def has_content(message: Message) -> bool:
    return bool(message.text.strip()) or any(not isinstance(p, Text) for p in message.parts)


def _beside_content(message: Mapping[str, Any]) -> tuple[Part, ...]:
    """What models say outside `content`: a refusal, speech with its transcript, calls of tools."""
    said: list[Part] = []
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        said.append(Text(refusal))
    if isinstance(audio := message.get("audio"), Mapping):
        said += _speech(audio)
    called = message.get("function_call")
    if isinstance(called, Mapping):
        said.append(_call("", called, "arguments"))
    return (*said, *_tool_calls(message.get("tool_calls")))


def _speech(audio: Mapping[str, Any]) -> tuple[Part, ...]:
    """The words. If only the id is given, as when a client sends an answer again, the audio by that id."""
    if isinstance(words := audio.get("transcript"), str) and words:
        return (Text(words),)
    return (Media(str(audio["id"]), "audio"),) if audio.get("id") else ()


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
    held = part.get(kind) or {name: one for name, one in part.items() if name != "type"}
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
        if not isinstance(call, Mapping):
            continue
        call_id = str(call.get("id") or "")
        if isinstance(function := call.get("function"), Mapping):
            found.append(_call(call_id, function, "arguments"))
        elif isinstance(custom := call.get("custom"), Mapping):
            found.append(_call(call_id, custom, "input"))
    return tuple(found)


def _call(call_id: str, called: Mapping[str, Any], given: str) -> ToolCall:
    """`given`: the field with what the tool was given."""
    return ToolCall(call_id, str(called.get("name") or ""), str(called.get(given) or ""))


def _wrong(message: str, name: str) -> InvalidArgument:
    return InvalidArgument(message, reason="INVALID_BODY", field=name)
