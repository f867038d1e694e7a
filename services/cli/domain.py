"""Conversations as files hold them, and what the import makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from shared.errors import InvalidArgument
from shared.identifiers import stable_id

Json = dict[str, Any]

FORMATS = ("openai", "sharegpt")
_SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bard": "assistant",
    "system": "system",
    "tool": "tool",
}
# What of a message the gateway knows beside role and content.
_KEPT = ("created", "model_version", "completion_id")


@dataclass(frozen=True, slots=True)
class Item:
    """One conversation as POST /v1/conversations takes it. `place` is its line, from 1."""

    place: int
    body: Json


@dataclass(frozen=True, slots=True)
class Refused:
    """What did not come in, and why."""

    place: int
    reason: str
    detail: str


@dataclass
class Imported:
    """The sum of an import."""

    read: int = 0
    accepted: int = 0
    turns: int = 0
    refused: list[Refused] = field(default_factory=list)


def detect(record: Json) -> str:
    """The format of a record; InvalidArgument if it is none of FORMATS."""
    if isinstance(record.get("messages"), list):
        return "openai"
    if isinstance(record.get("conversations"), list):
        return "sharegpt"
    raise InvalidArgument(
        "neither `messages` (OpenAI) nor `conversations` (ShareGPT) is there",
        reason="UNKNOWN_FORMAT",
    )


def convert(record: Any, format_name: str, place: int) -> Item:
    """A record in the gateway's form. `format_name` may be "auto". Raises InvalidArgument."""
    if not isinstance(record, dict):
        raise InvalidArgument("the record is no JSON object", reason="INVALID_RECORD")
    found = detect(record) if format_name == "auto" else format_name
    messages = _openai(record) if found == "openai" else _sharegpt(record)
    if not messages:
        raise InvalidArgument("the conversation has no messages", reason="EMPTY_CONVERSATION")
    said = [f"{one['role']}\n{one['content']}" for one in messages]
    own = record.get("conversation_id") or record.get("id") or stable_id(*said)
    user = record.get("user") or record.get("user_id") or f"import-{own}"
    body: Json = {"id": str(own), "user": str(user), "channel": "import", "messages": messages}
    if record.get("created"):
        body["created"] = record["created"]
    return Item(place, body)


def _openai(record: Json) -> list[Json]:
    raw = record.get("messages")
    return [
        {**_message(one.get("role"), one.get("content")), **_extras(one)}
        for one in _objects(raw, "messages")
    ]


def _sharegpt(record: Json) -> list[Json]:
    raw = record.get("conversations")
    return [
        _message(_SHAREGPT_ROLES.get(str(one.get("from")).lower(), one.get("from")), one["value"])
        for one in _objects(raw, "conversations")
        if "value" in one
    ]


def _objects(raw: Any, field_name: str) -> list[Json]:
    if not isinstance(raw, list) or not all(isinstance(one, dict) for one in raw):
        raise InvalidArgument(f"{field_name} is no list of objects", reason="INVALID_RECORD")
    return raw


def _message(role: Any, content: Any) -> Json:
    """Text parts of a content list are joined; the gateway judges what remains."""
    if isinstance(content, list):
        texts = [one.get("text", "") for one in content if isinstance(one, dict)]
        content = "\n".join(text for text in texts if text)
    return {"role": role, "content": content}


def _extras(message: Json) -> Json:
    return {name: message[name] for name in _KEPT if message.get(name)}


def chitchat(raw: Json) -> Iterator[tuple[str, Json]]:
    """The chats of the package chitchat-dataset in the OpenAI form. Whoever wrote second is taken
    as the assistant; what one person wrote in a row is one message; unanswered chats are left out.
    """
    for name, chat in raw.items():
        said = [one for group in chat["messages"] for one in group if one["text"].strip()]
        user = said[0]["sender"] if said else ""
        messages = _merged(said, user)
        if len(messages) > 1:
            yield name, {"conversation_id": name, "user": user, "messages": messages}


def _merged(said: Iterable[Json], user: str) -> list[Json]:
    messages: list[Json] = []
    for one in said:
        role = "user" if one["sender"] == user else "assistant"
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n{one['text'].strip()}"
            continue
        message = {"role": role, "content": one["text"].strip(), "created": one["timestamp"]}
        if role == "assistant":
            message["model_version"] = "human-chat"
        messages.append(message)
    return messages
