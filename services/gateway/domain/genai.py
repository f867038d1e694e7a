"""Messages in OpenTelemetry's GenAI conventions, in every format that is in use.

Current: `{role, parts: [{type, ...}]}`. Older: OpenAI's own format, one event for each message, and indexed
attributes (`gen_ai.prompt.0.content`). System messages are left out, as they are not part of a conversation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from services.gateway.domain.nested import numbered, tree_of
from shared.language.errors import InvalidArgument
from shared.language.identifiers import stable_id
from shared.language.json_text import decode
from shared.language.messages import Media, Message, Part, Text, ToolCall, ToolResult
from shared.language.openai_messages import read_message

INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
_ROLES = {"assistant": "assistant", "model": "assistant", "user": "user", "tool": "tool"}
_SYSTEM = ("system", "developer")
_EVENT = re.compile(r"gen_ai\.(system|user|assistant|tool)\.message")
# Words that are no `text` part.
_SPOKEN = ("refusal", "transcript")
# Reasoning is not part of the answer; what was left out of a history was logged before.
_SILENT = ("reasoning", "compaction")


def read_messages(value: object, field: str) -> list[Message]:
    """The messages of `gen_ai.input.messages` or `gen_ai.output.messages`, as JSON text or already parsed.
    InvalidArgument names the place that cannot be read."""
    found = _json(value, field)
    if not isinstance(found, list):
        raise _wrong(f"{field} must be a list of messages", field)
    return [
        message for place, one in enumerate(found) for message in _message(one, f"{field}[{place}]")
    ]


def read_openai(value: object, field: str) -> list[Message]:
    """Messages in OpenAI's format: JSON text, a list, or one message."""
    found = _json(value, field)
    if isinstance(found, str):
        found = [{"role": "user", "content": found}]
    items = found if isinstance(found, list) else [found]
    read = [read_message(one, f"{field}[{place}]") for place, one in enumerate(items)]
    return [message for message in read if message.role != "system"]


def read_indexed(attributes: Mapping[str, Any], which: str) -> list[Message]:
    """`gen_ai.prompt.N.*` or `gen_ai.completion.N.*`, as OpenLLMetry wrote them."""
    return [
        message
        for number, one in numbered(tree_of(attributes, f"gen_ai.{which}"))
        if (message := _indexed(one, f"gen_ai.{which}.{number}", which)) is not None
    ]


def read_event(name: str, body: object, field: str) -> Message | None:
    """`gen_ai.user.message` and similar events; None for a system message and for other events. `body` is the
    log record's, or a span event's attributes."""
    role = _EVENT.fullmatch(name)
    if role is None or role[1] == "system":
        return None
    said = _object(body, field)
    tool_id = said.get("id") or said.get("tool_call_id")
    return read_message({"role": role[1], **said, "tool_call_id": tool_id}, field)


def read_choice(body: object, field: str) -> Message | None:
    """The answer of a `gen_ai.choice` event; None for the second and later choices."""
    said = _object(body, field)
    if said.get("index", 0) not in (0, "0"):
        return None
    message = _json(said.get("message") or {}, f"{field}.message")
    if isinstance(message, str):
        message = {"content": message}
    return read_message({"role": "assistant", **_object(message, f"{field}.message")}, field)


def _message(said: object, field: str) -> list[Message]:
    """Nothing for a system message. Some keep a tool's result in a message of the user (Pydantic AI): it is the
    tool's all the same."""
    if not isinstance(said, Mapping):
        raise _wrong(f"{field} must be an object", field)
    role = said.get("role")
    if role in _SYSTEM:
        return []
    if not isinstance(role, str) or role not in _ROLES:
        raise InvalidArgument(
            f"{field}.role must be one of {', '.join((*_SYSTEM, *_ROLES))}",
            reason="UNKNOWN_ROLE",
            field=f"{field}.role",
        )
    if "parts" not in said:
        return [read_message(said, field)]
    parts = said["parts"]
    if not isinstance(parts, list):
        raise _wrong(f"{field}.parts must be a list", f"{field}.parts")
    read = [_part(one, f"{field}.parts[{place}]") for place, one in enumerate(parts)]
    read += _beside_parts(said, read)
    results = [part for part in read if isinstance(part, ToolResult)]
    if role == "tool" or not results:
        return [Message(_ROLES[role], tuple(part for part in read if part is not None))]
    rest = tuple(part for part in read if part is not None and part not in results)
    return [
        *(Message("tool", (result,)) for result in results),
        *([Message(_ROLES[role], rest)] if rest else []),
    ]


def _beside_parts(said: Mapping[str, Any], parts: list[Part | None]) -> list[Part]:
    """LiteLLM keeps calls beside the parts, as OpenAI does, and a result as a text with the call's id."""
    calls = read_message({"role": "assistant", "tool_calls": said.get("tool_calls")}, "").parts
    call_id = said.get("tool_call_id")
    if said["role"] != "tool" or not call_id or any(isinstance(one, ToolResult) for one in parts):
        return list(calls)
    texts = [part.text for part in parts if isinstance(part, Text)]
    parts[:] = [part for part in parts if not isinstance(part, Text)]
    return [ToolResult(str(call_id), "\n".join(texts)), *calls]


def _part(part: object, field: str) -> Part | None:
    """Media and unknown kinds are kept by reference."""
    said = _object(part, field)
    kind = said.get("type")
    if not isinstance(kind, str):
        raise _wrong(f"{field}.type must be text", f"{field}.type")
    if kind in _SILENT:
        return None
    if kind == "text":
        return Text(str(said.get("content") or ""))
    if kind == "tool_call":
        arguments = _text(said.get("arguments"))
        return ToolCall(str(said.get("id") or ""), str(said.get("name") or ""), arguments)
    if kind == "tool_call_response":
        result = said.get("response", said.get("result"))
        return ToolResult(str(said.get("id") or ""), _text(result))
    if kind in _SPOKEN:
        return Text(str(said.get("content") or said.get(kind) or ""))
    uri = said.get("uri") or said.get("file_id")
    if not isinstance(uri, str):
        uri = f"sha256:{stable_id(_text(said), length=64)}"
    return Media(uri, str(said.get("mime_type") or said.get("modality") or kind))


def _indexed(said: Mapping[str, Any], field: str, which: str) -> Message | None:
    role = said.get("role") or ("assistant" if which == "completion" else "user")
    if role in _SYSTEM:
        return None
    calls = [{"id": one.get("id"), "function": one} for _, one in numbered(said.get("tool_calls"))]
    content = _parts(said.get("content"))
    return read_message({**said, "role": role, "content": content, "tool_calls": calls}, field)


def _parts(content: object) -> object:
    """Content with several parts was written as JSON text."""
    if isinstance(content, str) and content.startswith('[{"type"'):
        try:
            return decode(content.encode())
        except ValueError:
            return content
    return content


def _json(value: object, field: str) -> Any:
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith(("[", "{")):
        if field in (INPUT, OUTPUT):
            raise _wrong(f"{field} is neither a list nor JSON text of one", field)
        return value
    try:
        return decode(value.encode())
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"{field} is not JSON: {error}", reason="MALFORMED_JSON", field=field
        ) from error


def _object(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(f"{field} must be an object", field)
    return value


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _wrong(message: str, field: str) -> InvalidArgument:
    return InvalidArgument(message, reason="INVALID_ATTRIBUTE", field=field)
