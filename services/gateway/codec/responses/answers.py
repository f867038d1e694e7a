"""A chat's answer as a response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.gateway.domain.answer_ids import call_item_id, message_id, response_id
from services.gateway.domain.answers import Answer, Choice
from services.gateway.domain.stored import StoredCompletion
from shared.language.messages import Message, ToolCall

Document = dict[str, Any]
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_DEFAULTS: Mapping[str, Any] = {
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "usage": None,
    "user": None,
}


def begun(completion: Mapping[str, Any], repeated: Mapping[str, Any]) -> Document:
    """A response that is being answered. `completion`: a completion or the first chunk of one; `repeated`: what
    it repeats of its request."""
    return {
        **_DEFAULTS,
        **repeated,
        "id": response_id(str(completion.get("id") or "")),
        "object": "response",
        "created_at": completion.get("created") or 0,
        "model": completion.get("model"),
        "status": "in_progress",
        "output": [],
    }


def response_of(completion: Mapping[str, Any], repeated: Mapping[str, Any]) -> Document:
    """`completion`: a `chat.completion`; its first choice is the answer."""
    answer = Answer()
    answer.add(completion)
    return finished(begun(completion, repeated), answer)


def finished(response: Document, answer: Answer) -> Document:
    """The response with what was answered."""
    choice = answer.choices.get(0) or Choice()
    return {
        **response,
        **ending(choice.finish_reason),
        "output": items_of(answer.completion_id, choice.message(), choice.finish_reason),
        "usage": usage_of(answer.usage),
    }


def stored_response(completion: StoredCompletion) -> Document:
    """As it was answered, as far as that was stored."""
    turn = completion.choices[0]
    named = {"id": completion.completion_id, "model": completion.model_version}
    repeated = {**completion.request, "metadata": dict(completion.metadata)}
    finish = turn.metadata.get("finish_reason", "")
    return {
        **begun({**named, "created": int(completion.create_time.timestamp())}, repeated),
        **ending(finish),
        "output": items_of(completion.completion_id, turn.message, finish),
        "usage": usage_of(completion.usage),
    }


def ending(finish_reason: str) -> Document:
    if reason := _INCOMPLETE.get(finish_reason):
        return {"status": "incomplete", "incomplete_details": {"reason": reason}}
    return {"status": "completed"}


def items_of(completion_id: str, message: Message, finish_reason: str) -> list[Document]:
    """The text, then the calls. Only the last of them can be cut off."""
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    items = [message_item(completion_id, message.text)] if message.text or not calls else []
    items += [call_item(completion_id, place, call) for place, call in enumerate(calls)]
    items[-1]["status"] = item_status(finish_reason)
    return items


def item_status(finish_reason: str) -> str:
    return "incomplete" if finish_reason in _INCOMPLETE else "completed"


def message_item(completion_id: str, text: str) -> Document:
    item = {"id": message_id(completion_id), "type": "message", "status": "completed"}
    return {**item, "role": "assistant", "content": [text_part(text)]}


def text_part(text: str) -> Document:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(completion_id: str, place: int, call: ToolCall) -> Document:
    return {
        "id": call_item_id(completion_id, place),
        "type": "function_call",
        "status": "completed",
        "call_id": call.call_id,
        "name": call.function,
        "arguments": call.arguments,
    }


def usage_of(said: Mapping[str, Any] | Sequence[object]) -> Document | None:
    """None if the model server did not say."""
    if not isinstance(said, Mapping) or not said:
        return None
    cached = (said.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (said.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": said.get("prompt_tokens") or 0,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": said.get("completion_tokens") or 0,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": said.get("total_tokens") or 0,
    }
