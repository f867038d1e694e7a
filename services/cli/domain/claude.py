"""Claude's export: `conversations.json`, an array of `{uuid, account, chat_messages}`.

sender           human or assistant
content          parts: text, tool_use (a call) and tool_result (its result); thinking is left out
text             where there is no content
attachments      and files: by name
account.uuid     the user
parent_message_uuid, current_leaf_message_uuid: a tree, where browser extensions export one
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from services.cli.domain import Json
from services.cli.domain.records import Item, Line, conversation, moment, objects
from services.cli.domain.trees import Node, flattened
from shared.language.errors import InvalidArgument
from shared.language.identifiers import completion_id_of, model_id_of
from shared.language.json_text import encode
from shared.language.messages import Media, Message, Part, Text, ToolCall, ToolResult, content_of

_ROLES = {"human": "user", "user": "user", "assistant": "assistant"}


def claude(record: Json) -> Item:
    version = model_id_of(record.get("model"))
    said = objects(record, "chat_messages")
    nodes: dict[str, Node] = {}
    before = ""
    for place, one in enumerate(said):
        name = str(one.get("uuid") or place)
        parent = str(one.get("parent_message_uuid") or before)
        nodes[name] = Node(name, parent, tuple(_lines(one, f"chat_messages[{place}]", version)))
        before = name
    current = record.get("current_leaf_message_uuid") or before
    account = record.get("account")
    user = account.get("uuid") if isinstance(account, dict) else record.get("user")
    return Item((conversation(record.get("uuid"), user, flattened(nodes, str(current))),))


def _lines(one: Json, field: str, version: str) -> Iterator[Line]:
    """A message with calls becomes the turns that they are: calls, results, and what follows."""
    role = _ROLES.get(str(one.get("sender")).lower())
    if role is None:
        raise InvalidArgument(
            f"{field}.sender must be one of {', '.join(_ROLES)}",
            reason="UNKNOWN_ROLE",
            field=f"{field}.sender",
        )
    created = moment(one.get("created_at"), f"{field}.created_at")
    name = completion_id_of(one.get("uuid"))
    messages = [said for said in _messages(role, one) if content_of(said)]
    for message in messages:
        answered = message.role == "assistant"
        last = answered and message is messages[-1]
        model = version if answered else ""
        yield Line(message, f"{field}.content", created, model, name if last else "")


def _messages(role: str, one: Json) -> Iterator[Message]:
    parts: list[Part] = []
    for part in _parts(one):
        if isinstance(part, ToolResult):
            yield Message(role, tuple(parts))
            yield Message("tool", (part,))
            parts = []
        else:
            parts.append(part)
    yield Message(role, tuple(parts))


def _parts(one: Json) -> Iterator[Part]:
    content = one.get("content")
    found = [part for part in _each(content) if part is not None]
    if not any(content_of(Message("user", (part,))) for part in found):
        found = [Text(str(one.get("text") or ""))]
    yield from found
    for name in ("attachments", "files"):
        held = one.get(name)
        for file in held if isinstance(held, list) else []:
            if isinstance(file, dict) and (uri := file.get("file_name")):
                yield Media(str(uri), "file")


def _each(content: Any) -> Iterator[Part | None]:
    for part in content if isinstance(content, list) else []:
        if not isinstance(part, dict):
            continue
        match part.get("type"):
            case "text":
                yield Text(str(part.get("text") or ""))
            case "tool_use":
                given = encode(part.get("input")).decode()
                yield ToolCall(str(part.get("id") or ""), str(part.get("name") or ""), given)
            case "tool_result":
                call = str(part.get("tool_use_id") or part.get("name") or "")
                yield ToolResult(call, _result(part.get("content")))


def _result(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = [
        str(one["text"])
        for one in (content if isinstance(content, list) else [])
        if isinstance(one, dict) and isinstance(one.get("text"), str)
    ]
    return "\n".join(texts) if texts or not content else encode(content).decode()
