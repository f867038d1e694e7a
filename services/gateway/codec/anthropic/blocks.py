"""Anthropic's content blocks as parts of chat messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.gateway.codec.fields import (
    a_text,
    an_object,
    content_of_parts,
    objects,
    unsupported,
    wrong,
)
from shared.language.json_text import encode

Block = Mapping[str, Any]
Parts = list[dict[str, Any]]


def assistant_message(blocks: Sequence[tuple[str, Block]]) -> dict[str, Any]:
    """One message: texts, then calls. Reasoning that the caller sends back goes on to the model server."""
    parts: Parts = []
    calls: list[dict[str, Any]] = []
    thoughts: list[str] = []
    for name, block in blocks:
        match block.get("type"):
            case "text":
                parts += _text(block, name)
            case "tool_use":
                calls.append(_call(block, name))
            case "thinking":
                thoughts.append(a_text(block.get("thinking"), f"{name}.thinking"))
            case "redacted_thinking":
                continue  # only Anthropic can read it
            case other:
                raise _unknown(other, name)
    message: dict[str, Any] = {"role": "assistant"}
    message["content"] = content_of_parts(parts) if parts else None
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        message["reasoning"] = "".join(thoughts)
    return message


def asked_messages(role: str, blocks: Sequence[tuple[str, Block]]) -> list[dict[str, Any]]:
    """In the order of the blocks: each tool result is a message, what is between them another."""
    found: list[dict[str, Any]] = []
    parts: Parts = []
    for name, block in blocks:
        if block.get("type") != "tool_result":
            parts += _parts(block, name)
            continue
        if parts:
            found.append({"role": role, "content": content_of_parts(parts)})
        result, parts = _tool_result(block, name)
        found.append(result)
    if parts:
        found.append({"role": role, "content": content_of_parts(parts)})
    return found


def _tool_result(block: Block, name: str) -> tuple[dict[str, Any], Parts]:
    """The message, and what a tool's message cannot hold: images, which follow as the user's."""
    content = block.get("content") or ""
    parts: Parts = [{"type": "text", "text": content}]
    if not isinstance(content, str):
        inside = objects(content, f"{name}.content")
        parts = [part for field, one in inside for part in _parts(one, field)]
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    if block.get("is_error"):
        text = f"Error: {text}"
    call_id = a_text(block.get("tool_use_id"), f"{name}.tool_use_id")
    others = [part for part in parts if part["type"] != "text"]
    return {"role": "tool", "tool_call_id": call_id, "content": text}, others


def _parts(block: Block, name: str) -> Parts:
    kind = block.get("type")
    if not isinstance(kind, str) or kind not in _READERS:
        raise _unknown(kind, name)
    return _READERS[kind](block, name)


def _text(block: Block, name: str) -> Parts:
    return [{"type": "text", "text": a_text(block.get("text"), f"{name}.text")}]


def _image(block: Block, name: str) -> Parts:
    source = an_object(block.get("source"), f"{name}.source")
    url = _data_url(source, f"{name}.source") or source.get("url")
    if not isinstance(url, str):
        raise _unknown_source(source, name)
    return [{"type": "image_url", "image_url": {"url": url}}]


def _document(block: Block, name: str) -> Parts:
    source, field = an_object(block.get("source"), f"{name}.source"), f"{name}.source"
    if source.get("type") == "text":
        return [{"type": "text", "text": a_text(source.get("data"), f"{field}.data")}]
    if source.get("type") == "content":
        content = source.get("content")
        if isinstance(content, str):
            return [{"type": "text", "text": content}]
        inside = objects(content, f"{field}.content")
        return [part for place, one in inside for part in _parts(one, place)]
    if url := _data_url(source, field):
        file = {"filename": str(block.get("title") or "document.pdf"), "file_data": url}
        return [{"type": "file", "file": file}]
    raise _unknown_source(source, name)


def _search_result(block: Block, name: str) -> Parts:
    texts = [
        a_text(one.get("text"), f"{place}.text")
        for place, one in objects(block.get("content"), f"{name}.content")
    ]
    heading = f"{block.get('title', '')} ({block.get('source', '')})"
    return [{"type": "text", "text": "\n".join([heading, *texts])}]


_READERS: dict[str, Callable[[Block, str], Parts]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
}


def _call(block: Block, name: str) -> dict[str, Any]:
    arguments = encode(an_object(block.get("input") or {}, f"{name}.input")).decode()
    function = {"name": a_text(block.get("name"), f"{name}.name"), "arguments": arguments}
    call_id = a_text(block.get("id"), f"{name}.id")
    return {"id": call_id, "type": "function", "function": function}


def _data_url(source: Block, field: str) -> str:
    """Empty if the source is not inline."""
    if source.get("type") != "base64":
        return ""
    media_type = a_text(source.get("media_type"), f"{field}.media_type")
    return f"data:{media_type};base64,{a_text(source.get('data'), f'{field}.data')}"


def _unknown(kind: object, name: str) -> Exception:
    if not isinstance(kind, str):
        return wrong(f"{name} must have a type", f"{name}.type")
    return unsupported(
        f"{name}: a {kind[:40]!r} block is not supported here; leave it out or give its text",
        f"{name}.type",
    )


def _unknown_source(source: Block, name: str) -> Exception:
    return unsupported(
        f"{name}.source: {str(source.get('type'))[:40]!r} is not supported; send the data as base64"
        + (", or the image's url" if "image" in name else ""),
        f"{name}.source",
    )
