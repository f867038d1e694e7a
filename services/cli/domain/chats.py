"""Conversations in the formats of OpenAI's JSON lines, ShareGPT, WildChat and LMSYS-Chat."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from services.cli.domain import Json
from services.cli.domain.records import (
    Item,
    Line,
    conversation,
    first_of,
    moment,
    objects,
)
from services.cli.domain.sessions import voice_of
from shared.language.errors import InvalidArgument
from shared.language.identifiers import completion_id_of, model_id_of
from shared.language.json_text import decode, encode
from shared.language.messages import Message, ToolCall, ToolResult, text_message
from shared.language.openai_messages import read_message

# Of ShareGPT's many dialects.
_SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "function_response": "tool",
    "function_call": "call",
    "tool_call": "call",
}
# How records name the conversation that they are a part of.
SESSIONS = ("session_id", "sessionId", "conversation_id", "thread_id")


def openai(record: Json) -> Item:
    """`{messages: [{role, content}], id, user, created, model, metadata: {model}}`. A message may have its own
    created, model_version and completion_id."""
    metadata = record.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    version = model_id_of(record.get("model") or known.get("model"))
    created = moment(record.get("created"), "created")
    lines = read_lines(objects(record, "messages"), "messages", version, created)
    own, user = first_of(record, *SESSIONS, "id"), first_of(record, "user", "user_id")
    return Item((conversation(own, user, lines),))


def session_of(record: Json) -> Any:
    """None if the record is a conversation of its own."""
    return first_of(record, *SESSIONS)


def voice(record: Json) -> str:
    """Of a record with messages that can be read: see voice_of."""
    return voice_of(read_message(one, "messages") for one in record["messages"][:1])


def sharegpt(record: Json) -> Item:
    """`{conversations: [{from, value}], id, model}`; or with role and content as in OpenAI's format."""
    version = model_id_of(record.get("model"))
    said = sharegpt_messages(objects(record, "conversations"), "conversations")
    lines = [
        Line(message, field, None, version if message.role == "assistant" else "")
        for message, field in said
        if message.role != "system"
    ]
    return Item((conversation(record.get("id"), record.get("user"), lines),))


def sharegpt_messages(said: list[Json], name: str) -> list[tuple[Message, str]]:
    """Each with its field."""
    return [_sharegpt_message(one, f"{name}[{place}]") for place, one in enumerate(said)]


def _sharegpt_message(one: Json, field: str) -> tuple[Message, str]:
    if "from" not in one and "role" in one:
        return read_message(one, field), f"{field}.content"
    said, role = one.get("from"), _SHAREGPT_ROLES.get(str(one.get("from")).lower())
    if role is None:
        raise InvalidArgument(
            f"{field}.from is {str(said)[:40]!r}; it must be one of {', '.join(_SHAREGPT_ROLES)}",
            reason="UNKNOWN_ROLE",
            field=f"{field}.from",
        )
    value = one.get("value")
    if not isinstance(value, str):
        raise InvalidArgument(
            f"{field}.value is not text", reason="INVALID_RECORD", field=f"{field}.value"
        )
    if role == "call":
        return Message("assistant", tuple(_calls(value))), f"{field}.value"
    if role == "tool":
        return Message("tool", (ToolResult("", value),)), f"{field}.value"
    return text_message(role, value), f"{field}.value"


def _calls(value: str) -> Iterator[ToolCall]:
    """`{"name", "arguments"}`, several of them, or anything else as the arguments of a call without a name."""
    try:
        found = decode(value.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        found = None
    named = found if isinstance(found, list) else [found]
    if not named or not all(isinstance(one, dict) and "name" in one for one in named):
        yield ToolCall("", "", value)
        return
    for one in named:
        given = one.get("arguments", one.get("parameters"))
        text = given if isinstance(given, str) else encode(given).decode()
        yield ToolCall(str(one.get("id") or ""), str(one["name"]), text)


def wildchat(record: Json) -> Item:
    """`{conversation_hash, model, timestamp, conversation: [{role, content, timestamp, hashed_ip}]}`.
    The user is the hashed address."""
    said = objects(record, "conversation")
    created = moment(record.get("timestamp"), "timestamp")
    lines = read_lines(said, "conversation", model_id_of(record.get("model")), created)
    addresses = [one["hashed_ip"] for one in said if one.get("hashed_ip")]
    user = addresses[0] if addresses else record.get("hashed_ip")
    return Item((conversation(record.get("conversation_hash"), user, lines),))


def lmsys(record: Json) -> Item:
    """`{conversation_id, model, conversation: [{role, content}]}`."""
    version = model_id_of(record.get("model"))
    created = moment(record.get("tstamp"), "tstamp")
    lines = read_lines(objects(record, "conversation"), "conversation", version, created)
    return Item((conversation(record.get("conversation_id"), record.get("user"), lines),))


def read_lines(said: list[Json], name: str, version: str, created: datetime | None) -> list[Line]:
    """OpenAI messages without system messages; `version` wrote the assistant's messages."""
    lines = []
    for place, one in enumerate(said):
        field = f"{name}[{place}]"
        message = read_message(one, field)
        if message.role == "system":
            continue
        said_at = one.get("created") or one.get("timestamp")
        when = moment(said_at, f"{field}.created") if said_at else created
        model = completion = ""
        if message.role == "assistant":
            own = one.get("model_version")
            model = (model_id_of(own) if own else "") or version
            own = one.get("completion_id")
            completion = completion_id_of(own) if own else ""
        lines.append(Line(message, f"{field}.content", when, model, completion))
    return lines
