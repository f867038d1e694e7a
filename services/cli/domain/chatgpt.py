"""ChatGPT's export: `conversations.json`, an array of trees, and `message_feedback.json`.

mapping            the nodes of a tree; current_node: the last one of the branch that was seen last
message.id         the answer's completion id, so that feedback finds it
message.metadata   model_slug: the version; hidden messages are left out
conversation_id    or id

Reasoning, custom instructions and empty messages are not turns. What an answer sends to a tool is a call,
what the tool says its result. Nobody is named in it: the user is given with `--user`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from services.cli.domain import Json
from services.cli.domain.records import Item, Line, conversation, first_of, moment, own_name
from services.cli.domain.trees import Node, flattened
from shared.language.errors import InvalidArgument
from shared.language.identifiers import completion_id_of, id_of, model_id_of, user_id_of
from shared.language.messages import Media, Message, Part, Text, ToolCall, ToolResult, content_of
from shared.language.opinions import ExplicitFeedback

_UNSAID = (
    "thoughts",
    "reasoning_recap",
    "user_editable_context",
    "model_editable_context",
)
_THUMBS = {"thumbs_up": True, "thumbsup": True, "thumbs_down": False, "thumbsdown": False}
_EVERYONE = ("all", "", None)


def chatgpt(record: Json) -> Item:
    """A conversation with all its branches."""
    mapping = record.get("mapping")
    if not isinstance(mapping, dict):
        raise InvalidArgument("mapping is not an object", reason="INVALID_RECORD", field="mapping")
    version = model_id_of(record.get("default_model_slug"))
    nodes = {
        name: _node(name, one, version) for name, one in mapping.items() if isinstance(one, dict)
    }
    lines = flattened(nodes, str(record.get("current_node")))
    own = first_of(record, "conversation_id", "id")
    return Item((conversation(own, record.get("user"), lines),))


def chatgpt_feedback(record: Json) -> Item:
    """`{id, conversation_id, user_id, rating: thumbs_up, content: {"text", "tags"}}`."""
    thumb = _THUMBS.get(str(record.get("rating")).lower())
    if thumb is None:
        raise InvalidArgument(
            f"rating must be one of {', '.join(_THUMBS)}", reason="INVALID_RECORD", field="rating"
        )
    said = own_name(record.get("id"), "id")
    given = ExplicitFeedback(
        tenant="",
        value=thumb,
        feedback_id=id_of(said, "feedback"),
        completion_id=completion_id_of(said),
        user_id=user_id_of(own_name(record.get("user_id"), "user_id")),
        comment=_comment(record.get("content")),
        create_time=moment(record.get("create_time"), "create_time"),
    )
    return Item(feedback=(given,))


def _node(name: str, node: Json, version: str) -> Node:
    message, parent = node.get("message"), str(node.get("parent"))
    if not isinstance(message, dict):
        return Node(name, parent)
    field = f"mapping.{name}.message"
    said = _message(message)
    if said is None or not content_of(said):
        return Node(name, parent)
    answered = said.role == "assistant"
    line = Line(
        said,
        f"{field}.content",
        moment(message.get("create_time"), f"{field}.create_time"),
        (model_id_of(_metadata(message).get("model_slug")) or version) if answered else "",
        completion_id_of(message.get("id")) if answered else "",
    )
    return Node(name, parent, (line,))


def _message(message: Json) -> Message | None:
    """None if it is not a part of what was said."""
    author, content = message.get("author"), message.get("content")
    if not isinstance(author, dict) or not isinstance(content, dict):
        return None
    if content.get("content_type") in _UNSAID or message.get("weight") == 0:
        return None
    if _metadata(message).get("is_visually_hidden_from_conversation"):
        return None
    said = Message(str(author.get("role")), tuple(_parts(content)))
    if said.role == "tool":
        result = ToolResult(str(author.get("name") or ""), content_of(said))
        return Message("tool", (result,)) if result.result else None
    recipient = message.get("recipient")
    if said.role == "assistant" and recipient not in _EVERYONE and content_of(said):
        call = ToolCall(str(message.get("id") or ""), str(recipient), content_of(said))
        return Message("assistant", (call,))
    return said if said.role in ("user", "assistant") else None


def _parts(content: Json) -> Iterator[Part]:
    held = content.get("parts")
    for one in held if isinstance(held, list) else [content]:
        if isinstance(one, str):
            yield Text(one)
        elif isinstance(one, dict):
            yield from _part(one)


def _part(one: Json) -> Iterator[Part]:
    """A text, a transcript, or a picture or recording by its name."""
    for name in ("text", "result"):
        if isinstance(one.get(name), str):
            yield Text(one[name])
            return
    inner = one.get("audio_asset_pointer")
    uri = one.get("asset_pointer") or (
        inner.get("asset_pointer") if isinstance(inner, dict) else None
    )
    if isinstance(uri, str):
        yield Media(uri, str(one.get("content_type") or "").removesuffix("_asset_pointer"))


def _metadata(message: Json) -> Mapping[str, Any]:
    found = message.get("metadata")
    return found if isinstance(found, dict) else {}


def _comment(content: Any) -> str:
    """Its content is JSON in a text."""
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except ValueError:
            return str(content)
    if not isinstance(content, dict):
        return ""
    tags = content.get("tags")
    words = [str(content.get("text") or ""), *(tags if isinstance(tags, list) else [])]
    return "; ".join(str(one) for one in words if one)
