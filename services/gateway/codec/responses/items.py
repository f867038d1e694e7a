"""Items of a response's input as chat messages.

An answer of this gateway is one chat message: its text, then its calls. So a call that follows on an answer's
text or on another call belongs to that message.
"""

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
from services.gateway.domain.answer_ids import answer_item_of

Item = Mapping[str, Any]
Items = Sequence[tuple[str, Item]]
Parts = list[dict[str, Any]]
# By completion: the answer as a chat message.
Answers = Mapping[str, Mapping[str, Any]]

_ROLES = ("user", "assistant", "system", "developer")


def kind_of(item: Item) -> object:
    """A message needs no type."""
    return item.get("type") or "message"


def referred(items: Items) -> set[str]:
    """The completions that item references name. InvalidArgument for a reference to what is not kept here."""
    found = set()
    for name, item in items:
        if kind_of(item) == "item_reference":
            found.add(_reference(item, name)[0])
    return found


def chat_messages(items: Items, answers: Answers) -> list[dict[str, Any]]:
    """`answers` has what `referred` named. InvalidArgument names the item that is wrong or not supported."""
    found: list[dict[str, Any]] = []
    for name, item in items:
        match kind_of(item):
            case "message":
                found.append(_message(item, name))
            case "function_call":
                _add_call(found, _call(item, name))
            case "function_call_output":
                found += _output(item, name)
            case "item_reference":
                _add_reference(found, item, name, answers)
            case "reasoning":
                continue  # of another model, mostly encrypted
            case other:
                raise _unknown(other, name)
    return found


def _message(item: Item, name: str) -> dict[str, Any]:
    role, content = item.get("role"), item.get("content")
    if role not in _ROLES:
        raise wrong(f"{name}.role must be one of {', '.join(_ROLES)}", f"{name}.role")
    if isinstance(content, str):
        return {"role": role, "content": content}
    parts = [_part(part, field) for field, part in objects(content, f"{name}.content")]
    if not parts:
        raise wrong(f"{name}.content must not be empty", f"{name}.content")
    return {"role": role, "content": content_of_parts(parts)}


def _part(part: Item, name: str) -> dict[str, Any]:
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _PARTS:
        raise _unknown(kind, name)
    return _PARTS[kind](part, name)


def _text(part: Item, name: str) -> dict[str, Any]:
    return {"type": "text", "text": a_text(part.get("text"), f"{name}.text")}


def _refusal(part: Item, name: str) -> dict[str, Any]:
    return {"type": "text", "text": a_text(part.get("refusal"), f"{name}.refusal")}


def _image(part: Item, name: str) -> dict[str, Any]:
    if not isinstance(part.get("image_url"), str):
        raise unsupported(
            f"{name} needs image_url, an address or a data URL; stored files are not supported",
            f"{name}.image_url",
        )
    image = {"url": part["image_url"]}
    if part.get("detail") not in (None, "auto"):
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _file(part: Item, name: str) -> dict[str, Any]:
    if not isinstance(part.get("file_data"), str):
        raise unsupported(
            f"{name} needs file_data; stored files and addresses are not supported",
            f"{name}.file_data",
        )
    file = {"filename": str(part.get("filename") or "file"), "file_data": part["file_data"]}
    return {"type": "file", "file": file}


def _audio(part: Item, name: str) -> dict[str, Any]:
    audio = an_object(part.get("input_audio"), f"{name}.input_audio")
    return {"type": "input_audio", "input_audio": dict(audio)}


_PARTS: dict[str, Callable[[Item, str], dict[str, Any]]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}


def _call(item: Item, name: str) -> dict[str, Any]:
    function = {
        "name": a_text(item.get("name"), f"{name}.name"),
        "arguments": a_text(item.get("arguments"), f"{name}.arguments"),
    }
    call_id = a_text(item.get("call_id"), f"{name}.call_id")
    return {"id": call_id, "type": "function", "function": function}


def _add_call(found: list[dict[str, Any]], call: dict[str, Any]) -> None:
    if not found or found[-1]["role"] != "assistant":
        found.append({"role": "assistant", "content": None})
    found[-1]["tool_calls"] = [*found[-1].get("tool_calls", ()), call]


def _output(item: Item, name: str) -> list[dict[str, Any]]:
    """The result, and what a tool's message cannot hold: images, which follow as the user's."""
    said, field = item.get("output"), f"{name}.output"
    parts: Parts = [{"type": "text", "text": said}]
    if not isinstance(said, str):
        parts = [_part(part, place) for place, part in objects(said, field)]
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    call_id = a_text(item.get("call_id"), f"{name}.call_id")
    found: list[dict[str, Any]] = [{"role": "tool", "tool_call_id": call_id, "content": text}]
    if others := [part for part in parts if part["type"] != "text"]:
        found.append({"role": "user", "content": others})
    return found


def _reference(item: Item, name: str) -> tuple[str, int | None]:
    said = a_text(item.get("id"), f"{name}.id")
    found = answer_item_of(said)
    if found is None:
        raise unsupported(
            f"{name}.id: only items of this gateway's own answers are kept, not {said[:80]!r}; send the item",
            f"{name}.id",
        )
    return found


def _add_reference(found: list[dict[str, Any]], item: Item, name: str, answers: Answers) -> None:
    completion_id, place = _reference(item, name)
    answer = answers[completion_id]
    if place is None:
        found.append({"role": "assistant", "content": answer.get("content")})
        return
    calls = answer.get("tool_calls") or ()
    if place >= len(calls):
        raise wrong(f"{name}.id: the answer has no call number {place}", f"{name}.id")
    _add_call(found, calls[place])


def _unknown(kind: object, name: str) -> Exception:
    if not isinstance(kind, str):
        return wrong(f"{name}.type must be a string", f"{name}.type")
    return unsupported(f"{name}: {kind[:40]!r} is not supported here; leave it out", f"{name}.type")
