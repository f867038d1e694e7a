"""Open WebUI's exports.

Chats: `{id, user_id, chat: {history: {messages, currentId}}}`, trees of messages.
  id             an answer's completion id, so that feedback finds it
  model          the version
  annotation     what the user said of the answer
Feedback: `{id, user_id, type, data: {rating}, meta: {message_id}, snapshot: {chat}}`: a thumb (1 or -1), its
details (a rating from 1 to 10), reason and comment. With a snapshot the chat itself comes in, too; where one of
two answers side by side was rated, a preference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from services.cli.domain import Json
from services.cli.domain.records import (
    Conversation,
    Item,
    Line,
    conversation,
    first_of,
    moment,
    own_name,
)
from services.cli.domain.trees import Node, branch, flattened
from shared.language.errors import InvalidArgument
from shared.language.identifiers import completion_id_of, id_of, model_id_of, stable_id, user_id_of
from shared.language.messages import Media, Message, Part, Text, content_of
from shared.language.openai_messages import read_message
from shared.language.opinions import ExplicitFeedback, Rating, Value
from shared.language.pairs import Pair, PairSource

# How a model's reasoning stands in its answers.
_REASONING = re.compile(r'<details type="reasoning".*?</details>\s*', re.DOTALL)


def open_webui(record: Json) -> Item:
    """A chat, or a piece of feedback."""
    if isinstance(record.get("data"), dict):
        return _feedback(record)
    chat = record.get("chat")
    inner = chat if isinstance(chat, dict) else record
    user = first_of({**inner, **record}, "user_id")
    messages = _messages(inner)
    made = _conversation(record, inner, _nodes(messages), user)
    said = [
        one
        for name, message in messages.items()
        if isinstance(message.get("annotation"), dict)
        for one in _opinions(
            message["annotation"],
            id_of(message.get("feedbackId"), "feedback") or stable_id("annotation", made.id, name),
            completion_id_of(name),
            made.user,
            None,
        )
    ]
    return Item((made,), tuple(said))


def _feedback(record: Json) -> Item:
    meta = record.get("meta")
    answer = meta.get("message_id") if isinstance(meta, dict) else None
    if not answer:
        raise InvalidArgument(
            "the feedback names no message", reason="MISSING_TARGET", field="meta.message_id"
        )
    data, user = record["data"], own_name(record.get("user_id"), "user_id")
    time = moment(record.get("updated_at") or record.get("created_at"), "updated_at")
    own = id_of(record.get("id"), "feedback") or stable_id("feedback", str(answer))
    given = tuple(_opinions(data, own, completion_id_of(answer), user_id_of(user), time))
    snapshot = record.get("snapshot")
    held = snapshot.get("chat") if isinstance(snapshot, dict) else None
    if not isinstance(held, dict):
        return Item(feedback=given)
    chat = held.get("chat")
    inner = chat if isinstance(chat, dict) else held
    nodes = _nodes(_messages(inner))
    made = _conversation(held, inner, nodes, held.get("user_id") or user)
    pair = _pair(data, nodes, str(answer), made, time)
    return Item((made,), given, (pair,) if pair else ())


def _conversation(
    record: Json, inner: Json, nodes: Mapping[str, Node], user: object
) -> Conversation:
    history = inner.get("history")
    current = history.get("currentId") if isinstance(history, dict) else None
    return conversation(record.get("id"), user, flattened(nodes, str(current or "")))


def _messages(inner: Json) -> dict[str, Json]:
    """Of the tree; or of the list, where each follows on the one before it."""
    history = inner.get("history")
    tree = history.get("messages") if isinstance(history, dict) else None
    if isinstance(tree, dict) and tree:
        return {name: one for name, one in tree.items() if isinstance(one, dict)}
    said = inner.get("messages")
    if not isinstance(said, list):
        raise InvalidArgument(
            "the chat has neither history.messages nor messages",
            reason="INVALID_RECORD",
            field="chat.history.messages",
        )
    found: dict[str, Json] = {}
    before = None
    for place, one in enumerate(said):
        if isinstance(one, dict):
            name = str(one.get("id") or place)
            found[name] = {**one, "parentId": before}
            before = name
    return found


def _nodes(messages: Mapping[str, Json]) -> dict[str, Node]:
    return {name: _node(name, one) for name, one in messages.items()}


def _node(name: str, one: Json) -> Node:
    parent, field = str(one.get("parentId") or ""), f"chat.history.messages.{name}"
    message = _said(one, field)
    if message.role == "system" or not content_of(message):
        return Node(name, parent)
    answered = message.role == "assistant"
    line = Line(
        message,
        f"{field}.content",
        moment(one.get("timestamp"), f"{field}.timestamp"),
        model_id_of(one.get("model")) if answered else "",
        completion_id_of(name) if answered else "",
    )
    return Node(name, parent, (line,))


def _said(one: Json, field: str) -> Message:
    """Without reasoning, and with the files that were sent along."""
    message = read_message(one, field)
    parts: list[Part] = []
    for part in message.parts:
        shown = isinstance(part, Text) and message.role == "assistant"
        parts.append(Text(_REASONING.sub("", part.text)) if shown else part)  # type: ignore[union-attr]
    files = one.get("files")
    for file in files if isinstance(files, list) else []:
        uri = file.get("url") or file.get("id") or file.get("name") if isinstance(file, dict) else 0
        if isinstance(uri, str):
            named = uri if not uri.startswith("data:") else f"sha256:{stable_id(uri, length=64)}"
            parts.append(Media(named, str(file.get("type") or "file")))
    return Message(message.role, tuple(parts))


def _opinions(
    data: Mapping[str, Any], own: str, answer: str, user: str, time: datetime | None
) -> Iterator[ExplicitFeedback]:
    """The comment goes with the first value, or alone."""
    tags = data.get("tags")
    said = [data.get("reason"), data.get("comment"), *(tags if isinstance(tags, list) else [])]
    words = "; ".join(dict.fromkeys(one for one in said if isinstance(one, str) and one))
    target = ExplicitFeedback("", completion_id=answer, user_id=user, create_time=time)
    values: list[Value | None] = list(_values(data))
    for number, value in enumerate(values or ([None] if words else [])):
        name = own if number == 0 else f"{own}.{number}"
        comment = words if number == 0 else ""
        yield replace(target, feedback_id=name, value=value, comment=comment)


def _values(data: Mapping[str, Any]) -> Iterator[Value]:
    if (rating := str(data.get("rating"))) in ("1", "-1"):
        yield rating == "1"
    details = data.get("details")
    score = details.get("rating") if isinstance(details, dict) else None
    if isinstance(score, int | float) and not isinstance(score, bool) and 1 <= score <= 10:
        yield Rating(score, 1, 10)


def _pair(
    data: Json, nodes: Mapping[str, Node], answer: str, made: Conversation, time: datetime | None
) -> Pair | None:
    """Of the rated answer and the only other one to the same question."""
    rated, rating = nodes.get(answer), str(data.get("rating"))
    if rated is None or rating not in ("1", "-1") or not data.get("sibling_model_ids"):
        return None
    others = [one for one in nodes.values() if one.parent == rated.parent and one is not rated]
    if len(others) != 1 or not rated.lines or not others[0].lines:
        return None
    sides = [rated.lines[0], others[0].lines[0]]
    won, lost = sides if rating == "1" else reversed(sides)
    prompt = tuple(line.message for line in branch(nodes, rated.parent))
    if not prompt or content_of(won.message) == content_of(lost.message):
        return None
    return Pair(
        made.user,
        PairSource.ARENA_VOTE,
        prompt,
        won.message,
        lost.message,
        pair_id=stable_id("vote", made.id, *sorted((rated.id, others[0].id))),
        conversation_id=made.id,
        create_time=time,
        model_version=lost.model_version,
    )
