"""OpenAI chat bodies: who speaks, in which conversation, and which turns an exchange leaves."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.gateway.domain.turns import LoggedTurn
from shared.errors import InvalidArgument
from shared.identifiers import check_segment, stable_id
from shared.messages import Media, Message, Part, Text, ToolCall, ToolResult

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_SEGMENT = re.compile(r"[A-Za-z0-9._:@-]{1,128}")


@dataclass(frozen=True, slots=True)
class Chat:
    """One request, as far as the gateway needs to understand it."""

    tenant: str
    user_id: str
    conversation_id: str
    # Without system messages: a message's index is its place here.
    messages: tuple[Message, ...]
    metadata: Mapping[str, str]


def read_chat(
    body: Mapping[str, Any], headers: Mapping[str, str], tenant: str, key_digest: str
) -> Chat:
    """InvalidArgument names the field that is wrong."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages must be a list with at least one message", "messages")
    spoken = [read_message(one, f"messages[{place}]") for place, one in enumerate(messages)]
    turns = tuple(message for message in spoken if message.role != "system")
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    said = body.get("user") or headers.get("x-trimtab-user") or ""
    if not isinstance(said, str):
        raise _wrong("user must be a string", "user")
    given = headers.get("x-trimtab-conversation") or metadata.get("conversation_id")
    conversation = (
        check_segment(str(given), "conversation_id")
        if given
        else _derived_conversation(tenant, said or key_digest, turns)
    )
    user = _user(said) if said else f"anonymous-{stable_id(key_digest, conversation, length=16)}"
    return Chat(tenant, user, conversation, turns, _texts(metadata))


def read_message(message: object, name: str) -> Message:
    """An OpenAI message as a value. InvalidArgument for what is no message or has no known role."""
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


def turns_of(chat: Chat, channel: str, time: datetime) -> list[LoggedTurn]:
    """All messages that have content, as turns. Versions of earlier answers are not known here; if
    they were logged when they were made, that record stays."""
    last = len(chat.messages) - 1
    return [
        LoggedTurn(
            tenant=chat.tenant,
            conversation_id=chat.conversation_id,
            index=index,
            message=message,
            user_id=chat.user_id,
            create_time=time,
            channel=channel,
            metadata=chat.metadata if index == last else {},
        )
        for index, message in enumerate(chat.messages)
        if has_content(message)
    ]


def turn_key(turn: LoggedTurn) -> str:
    """What makes two turns the same turn: conversation, place, role and content."""
    message = turn.message
    rest = [repr(part) for part in message.parts if not isinstance(part, Text)]
    place = (turn.tenant, turn.conversation_id, str(turn.index), message.role)
    return stable_id(*place, message.text.strip(), *rest)


def has_content(message: Message) -> bool:
    return bool(message.text.strip()) or any(not isinstance(p, Text) for p in message.parts)


@dataclass(slots=True)
class Answer:
    """The first choice of a completion, gathered from its chunks or its whole."""

    completion_id: str = ""
    finish_reason: str = ""
    _text: list[str] = field(default_factory=list)
    _calls: dict[int, list[str]] = field(default_factory=dict)

    def add(self, completion: Mapping[str, Any]) -> None:
        """A `chat.completion` or a `chat.completion.chunk`."""
        self.completion_id = self.completion_id or str(completion.get("id") or "")
        for choice in completion.get("choices") or ():
            if choice.get("index", 0) == 0:
                self.finish_reason = choice.get("finish_reason") or self.finish_reason
                self._add_message(choice.get("message") or choice.get("delta") or {})

    def message(self) -> Message:
        text = "".join(self._text)
        calls = [ToolCall(*call) for _, call in sorted(self._calls.items())]
        return Message("assistant", (*((Text(text),) if text else ()), *calls))

    def _add_message(self, said: Mapping[str, Any]) -> None:
        if isinstance(said.get("content"), str):
            self._text.append(said["content"])
        for place, call in enumerate(said.get("tool_calls") or ()):
            function = call.get("function") or {}
            had = self._calls.setdefault(call.get("index", place), ["", "", ""])
            had[0] += call.get("id") or ""
            had[1] += function.get("name") or ""
            had[2] += function.get("arguments") or ""


def key_digest(key: str) -> str:
    """What the gateway remembers of an API key."""
    return hashlib.sha256(key.encode()).hexdigest()


def _derived_conversation(tenant: str, who: str, turns: Sequence[Message]) -> str:
    """The simple link between the calls of one conversation: who it is and how it began."""
    first = next((message.text for message in turns if message.role == "user"), "")
    return f"auto-{stable_id(tenant, who, first)}"


def _user(said: str) -> str:
    """As it was said if it can be an id, else a hash: applications call users what they like."""
    return said if _SEGMENT.fullmatch(said) else f"user-{stable_id(said)}"


def _texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): value for name, value in metadata.items() if isinstance(value, str)}


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
    # Media is kept by reference; data sent inline is named by its digest.
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
