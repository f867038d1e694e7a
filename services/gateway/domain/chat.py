"""OpenAI chat bodies: who speaks, in which conversation, and which turns a request leaves."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.gateway.domain.linking import Place
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
    key_digest: str
    # Who speaks, and in which conversation; empty where the request does not say.
    speaker: str
    named_conversation: str
    # Without system messages: a message's index is its place here.
    messages: tuple[Message, ...]
    metadata: Mapping[str, str]
    # OpenAI's `store`: None if it was not said.
    store: bool | None = None
    # The client library sends a call again that it had no answer to.
    repeated: bool = False

    def user_id(self, conversation_id: str) -> str:
        """The speaker, or an anonymous one for each conversation."""
        if self.speaker:
            return self.speaker
        return f"anonymous-{stable_id(self.key_digest, conversation_id, length=16)}"


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
    given = headers.get("x-trimtab-conversation") or metadata.get("conversation_id") or ""
    store = body.get("store")
    if store is not None and not isinstance(store, bool):
        raise _wrong("store must be true or false", "store")
    return Chat(
        tenant=tenant,
        key_digest=key_digest,
        speaker=_user(said) if said else "",
        named_conversation=check_segment(str(given), "conversation_id") if given else "",
        messages=turns,
        metadata=_texts(metadata),
        store=store,
        repeated=headers.get("x-stainless-retry-count", "0") != "0",
    )


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


def asked_turns(
    chat: Chat, conversation_id: str, place: Place, channel: str, time: datetime
) -> list[LoggedTurn]:
    """The messages that the conversation has not been told yet, as turns. Versions of earlier
    answers are not known here; if they were logged when they were made, that record stays."""
    last = len(chat.messages) - 1
    user_id = chat.user_id(conversation_id)
    return [
        LoggedTurn(
            tenant=chat.tenant,
            conversation_id=conversation_id,
            index=index,
            message=message,
            user_id=user_id,
            create_time=time,
            channel=channel,
            metadata=chat.metadata if index == last else {},
            signal=place.signal if index == last else "",
            replaces_turn_id=place.replaces_turn_id if index == last else "",
        )
        for index, message in enumerate(chat.messages)
        if index >= place.told and has_content(message)
    ]


def has_content(message: Message) -> bool:
    return bool(message.text.strip()) or any(not isinstance(p, Text) for p in message.parts)


def key_digest(key: str) -> str:
    """What the gateway remembers of an API key."""
    return hashlib.sha256(key.encode()).hexdigest()


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
