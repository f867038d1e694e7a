"""Messages in whatever form a tracing tool kept them: a text, OpenAI's request or answer, Anthropic's messages,
LangChain's objects, or JSON of these."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shared.language.json_text import decode
from shared.language.messages import Message, text_message
from shared.language.openai_messages import read_message

_LANGCHAIN_ROLES = {
    "human": "user",
    "ai": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "function",
    "HumanMessage": "user",
    "AIMessage": "assistant",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "function",
}
# Under which one text of an object is what was said.
_TEXTS = ("prompt", "input", "query", "question", "text", "completion", "output", "answer")


def read_loosely(said: object, field: str, role: str) -> list[Message]:
    """The messages in `said`, without system messages; what names no role is `role`'s. InvalidArgument names
    the place of a message that cannot be read. An object of unknown form is kept as its JSON text."""
    found = _json(said)
    if found is None or found in ("", [], {}):
        return []
    items = [one for item in _items(found) for one in _in_openais_form(item)]
    read = [_message(one, f"{field}[{place}]", role) for place, one in enumerate(items)]
    return [message for message in read if message.role != "system"]


def _json(said: object) -> Any:
    if isinstance(said, str) and said.lstrip().startswith(("{", "[")):
        try:
            return decode(said.encode())
        except (ValueError, RecursionError):
            return said
    return said


def _items(said: Any) -> list[Any]:
    """A list of messages. Of a batch the first, and of several choices, too."""
    if isinstance(said, list):
        return _items(said[0]) if len(said) == 1 and isinstance(said[0], list) else said
    if isinstance(said, Mapping):
        if isinstance(messages := said.get("messages"), list) and messages:
            return _items(messages[:1] if isinstance(messages[0], list) else messages)
        if isinstance(choices := said.get("choices"), list):
            return [_of_choice(one) for one in choices[:1]]
        if isinstance(made := said.get("generations"), list):
            return [_of_choice(one) for one in _items(made)[:1]]
    return [said]


def _in_openais_form(said: Any) -> list[Any]:
    """A message of Anthropic's, whose calls and results are parts of it; any other as it is."""
    content = said.get("content") if isinstance(said, Mapping) else None
    if not isinstance(content, list) or "kwargs" in said:
        return [said]
    kinds = [one.get("type") if isinstance(one, Mapping) else "" for one in content]
    if "tool_use" not in kinds and "tool_result" not in kinds:
        return [said]
    parts = list(zip(kinds, content, strict=True))
    results = [
        {"role": "tool", "tool_call_id": one.get("tool_use_id"), "content": one.get("content")}
        for kind, one in parts
        if kind == "tool_result"
    ]
    calls = [_call({**one, "args": one.get("input")}) for kind, one in parts if kind == "tool_use"]
    rest = [one for kind, one in parts if kind not in ("tool_use", "tool_result", "thinking")]
    said = {**said, "content": rest, "tool_calls": calls}
    return [*results, said] if rest or calls else results


def _of_choice(choice: Any) -> Any:
    if not isinstance(choice, Mapping):
        return choice
    return choice.get("message") or choice.get("text") or choice


def _message(said: Any, field: str, role: str) -> Message:
    if not isinstance(said, Mapping):
        return text_message(role, said if isinstance(said, str) else _text(said))
    plain = _of_langchain(said) or said
    if "role" in plain or "content" in plain or "tool_calls" in plain:
        return read_message({"role": role, **plain}, field)
    for name in _TEXTS:
        if isinstance(text := said.get(name), str) and text:
            return text_message(role, text)
    return text_message(role, _text(said))


def _of_langchain(said: Mapping[str, Any]) -> dict[str, Any] | None:
    """In OpenAI's form; None if it is not one of LangChain's messages."""
    held = said.get("kwargs") or said.get("data") or said
    path = said.get("id")
    kind = path[-1] if isinstance(path, list) and path else said.get("type")
    if not isinstance(held, Mapping) or not isinstance(kind, str):
        return None
    role = _LANGCHAIN_ROLES.get(kind.removesuffix("Chunk"))
    if role is None or "content" not in held:
        return None
    calls, more = held.get("tool_calls"), held.get("additional_kwargs")
    return {
        "role": role,
        "content": _parts(held["content"]) or None,
        "tool_calls": [_call(one) for one in calls] if isinstance(calls, list) else None,
        "tool_call_id": held.get("tool_call_id"),
        "name": held.get("name"),
        "refusal": more.get("refusal") if isinstance(more, Mapping) else None,
    }


def _parts(content: Any) -> Any:
    """In a list of parts a text may stand for itself; calls are repeated among them."""
    if not isinstance(content, list):
        return content
    return [
        {"type": "text", "text": one} if isinstance(one, str) else one
        for one in content
        if not isinstance(one, Mapping)
        or one.get("type") not in ("tool_use", "reasoning", "thinking")
    ]


def _call(call: Any) -> Any:
    if not isinstance(call, Mapping):
        return call
    function = {"name": call.get("name"), "arguments": _text(call.get("args"))}
    return {"id": call.get("id"), "function": function}


def _text(said: Any) -> str:
    return said if isinstance(said, str) else json.dumps(said, sort_keys=True, ensure_ascii=False)
