"""Stored completions: what is kept with an answer so that it can be found by its completion's id, and what is
found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.language.errors import InvalidArgument
from shared.language.json_text import encode
from shared.language.messages import Media, Message, Part, Text, ToolCall, ToolResult
from shared.language.turns import Turn

# In other fields of the completion, or only about the connection.
_NOT_KEPT = ("messages", "metadata", "model", "store", "stream", "stream_options")
# The system messages of a response's input, under this name among the request's other fields.
INPUT_SYSTEM = "input_system"
# The size of a request's other fields, such as tools, in characters; beyond this they are left out.
_MOST_BYTES = 32_000


@dataclass(frozen=True, slots=True)
class StoredCompletion:
    """`choices`: the answers' turns in order; `request`: the request's other fields."""

    completion_id: str
    model_version: str
    create_time: datetime
    metadata: Mapping[str, str]
    request: Mapping[str, Any]
    usage: Mapping[str, Any]
    choices: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class CompletionQuery:
    """A page of them. `size` 0 is the default; `after` is a completion's id."""

    size: int = 0
    after: str = ""
    newest_first: bool = False
    model_version: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def stored_fields(
    body: Mapping[str, Any], metadata: Mapping[str, str], usage: Mapping[str, Any]
) -> dict[str, str]:
    """For the metadata of the answer's turn."""
    kept = {name: value for name, value in body.items() if name not in _NOT_KEPT}
    request = encode(kept)
    if len(request) > _MOST_BYTES:
        request = encode({name: value for name, value in kept.items() if name != "tools"})
    return {
        "openai.stored": "true",
        "openai.metadata": encode(dict(metadata)).decode(),
        "openai.request": request.decode() if len(request) <= _MOST_BYTES else "{}",
        "openai.usage": encode(dict(usage)).decode(),
    }


def chat_message(message: Message) -> dict[str, Any]:
    """A message as a chat carries it. InvalidArgument if it has media that were sent inline, of which only the
    digest is kept."""
    if results := [part for part in message.parts if isinstance(part, ToolResult)]:
        result = results[0]
        return {"role": "tool", "tool_call_id": result.call_id, "content": result.result}
    said: dict[str, Any] = {"role": message.role, "content": message.text or None}
    if any(isinstance(part, Media) for part in message.parts):
        said["content"] = [_part(part) for part in message.parts if not isinstance(part, ToolCall)]
    calls = [_call(part) for part in message.parts if isinstance(part, ToolCall)]
    return {**said, "tool_calls": calls} if calls else said


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Media) and part.mime_type == "image_url" and "://" in part.uri:
        return {"type": "image_url", "image_url": {"url": part.uri}}
    raise InvalidArgument(
        "an earlier message has an image or a file that was sent inline and is no longer kept; send the "
        "conversation in input instead of previous_response_id",
        reason="MEDIA_NOT_KEPT",
        field="previous_response_id",
    )


def _call(part: ToolCall) -> dict[str, Any]:
    function = {"name": part.function, "arguments": part.arguments}
    return {"id": part.call_id, "type": "function", "function": function}
