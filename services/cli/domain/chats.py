"""Conversations in the formats of OpenAI's JSON lines, ShareGPT, WildChat and LMSYS-Chat."""

from __future__ import annotations

from datetime import datetime

from services.cli.domain import Json
from services.cli.domain.records import Item, Line, conversation, moment, objects
from shared.language.errors import InvalidArgument
from shared.language.identifiers import completion_id_of, model_id_of
from shared.language.messages import text_message
from shared.language.openai_messages import read_message

_SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
}


def openai(record: Json) -> Item:
    """`{messages: [{role, content}], id, user, created, model, metadata: {model}}`. A message may have its own
    created, model_version and completion_id."""
    metadata = record.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    version = model_id_of(record.get("model") or known.get("model"))
    created = moment(record.get("created"), "created")
    lines = read_lines(objects(record, "messages"), "messages", version, created)
    own = record.get("conversation_id") or record.get("id")
    return Item((conversation(own, record.get("user") or record.get("user_id"), lines),))


def sharegpt(record: Json) -> Item:
    """`{conversations: [{from, value}], id, model}`."""
    version = model_id_of(record.get("model"))
    lines = []
    for place, one in enumerate(objects(record, "conversations")):
        field = f"conversations[{place}]"
        said, role = one.get("from"), _SHAREGPT_ROLES.get(str(one.get("from")).lower())
        if role is None:
            raise InvalidArgument(
                f"{field}.from is {str(said)[:40]!r}; it must be one of"
                f" {', '.join(_SHAREGPT_ROLES)}",
                reason="UNKNOWN_ROLE",
                field=f"{field}.from",
            )
        value = one.get("value")
        if not isinstance(value, str):
            raise InvalidArgument(
                f"{field}.value is not a text", reason="INVALID_RECORD", field=f"{field}.value"
            )
        if role != "system":
            model = version if role == "assistant" else ""
            lines.append(Line(text_message(role, value), f"{field}.value", None, model))
    return Item((conversation(record.get("id"), record.get("user"), lines),))


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
        own = one.get("created") or one.get("timestamp")
        when = moment(own, f"{field}.created") if own else created
        model = model_id_of(one.get("model_version")) or version
        answered = message.role == "assistant"
        completion = completion_id_of(one.get("completion_id"))
        lines.append(
            Line(
                message,
                f"{field}.content",
                when,
                model if answered else "",
                completion if answered else "",
            )
        )
    return lines
