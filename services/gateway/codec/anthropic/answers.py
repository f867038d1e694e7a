"""A chat's answer as Anthropic's: a message, or its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.gateway.codec.chat_stream import ChatTranslator, Chunk, server_sent
from services.gateway.domain.answer_ids import message_id
from shared.language.json_text import decode

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
# When a version was released is not known here.
_CREATED = "1970-01-01T00:00:00Z"


def models_page(names: Sequence[str]) -> dict[str, Any]:
    """All of them on one page."""
    ends = {"first_id": names[0], "last_id": names[-1]}
    return {"data": [model_info(name) for name in names], "has_more": False, **ends}


def model_info(name: str) -> dict[str, Any]:
    kind = {"type": "model", "lifecycle": "active"}
    return {**kind, "id": name, "display_name": name, "created_at": _CREATED}


def message_of(completion: Mapping[str, Any], *, thinking: bool) -> dict[str, Any]:
    """`completion`: a `chat.completion`; its first choice is the answer."""
    choice = (completion.get("choices") or [{}])[0]
    said = choice.get("message") or {}
    content: list[dict[str, Any]] = []
    if thinking and (thought := _reasoning(said)):
        content.append({"type": "thinking", "thinking": thought, "signature": ""})
    if text := "".join(said.get(name) or "" for name in ("content", "refusal")):
        content.append({"type": "text", "text": text})
    calls = said.get("tool_calls") or ()
    content += [_tool_use(call) for call in calls]
    if not content:
        content.append({"type": "text", "text": ""})  # clients read the first block
    return {
        "id": message_id(str(completion.get("id") or "")),
        "type": "message",
        "role": "assistant",
        "model": completion.get("model"),
        "content": content,
        **_stop(choice, bool(calls)),
        "usage": _usage(completion.get("usage")),
    }


class MessageEvents(ChatTranslator):
    """A streamed chat as Anthropic's events. Blocks follow one another: the reasoning, the text, each call."""

    def __init__(self, *, thinking: bool) -> None:
        super().__init__()
        self._thinking = thinking
        self._kind = ""
        self._block = -1
        # By place in the chat: the block of a call.
        self._calls: dict[int, int] = {}
        self._usage: Mapping[str, Any] = {}
        self._choice: Mapping[str, Any] = {}
        self._begun = False

    @property
    def _is_complete(self) -> bool:
        return bool(self._choice)

    def _waiting(self) -> bytes:
        return server_sent("ping", {})

    def _chunk(self, chunk: Chunk) -> bytes:
        events = [] if self._begun else [self._begin(chunk.document)]
        self._usage = chunk.document.get("usage") or self._usage
        if chunk.choice.get("index", 0) == 0:
            events += self._said(chunk.delta)
            if chunk.choice.get("finish_reason"):
                self._choice = chunk.choice
        return b"".join(events)

    def _begin(self, document: Mapping[str, Any]) -> bytes:
        self._begun = True
        message: dict[str, Any] = {
            "id": message_id(str(document.get("id") or "")),
            "type": "message",
            "role": "assistant",
            "model": document.get("model"),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(document.get("usage")),
        }
        return server_sent("message_start", {"message": message}) + self._waiting()

    def _said(self, delta: Mapping[str, Any]) -> list[bytes]:
        events: list[bytes] = []
        if self._thinking and (thought := _reasoning(delta)):
            events += self._enter("thinking", {"thinking": "", "signature": ""})
            events.append(self._delta({"type": "thinking_delta", "thinking": thought}))
        if text := "".join(delta.get(name) or "" for name in ("content", "refusal")):
            events += self._enter("text", {"text": ""})
            events.append(self._delta({"type": "text_delta", "text": text}))
        for place, call in enumerate(delta.get("tool_calls") or ()):
            events += self._called(call.get("index", place), call)
        return events

    def _called(self, place: int, call: Mapping[str, Any]) -> list[bytes]:
        function: Mapping[str, Any] = call.get("function") or {}
        events: list[bytes] = []
        if place not in self._calls:
            named = {"id": call.get("id") or "", "name": function.get("name") or ""}
            events += [self._leave(), self._start("tool_use", {**named, "input": {}})]
            self._calls[place] = self._block
        if arguments := function.get("arguments"):
            delta = {"type": "input_json_delta", "partial_json": arguments}
            events.append(self._delta(delta, self._calls[place]))
        return events

    def _enter(self, kind: str, empty: Mapping[str, Any]) -> list[bytes]:
        return [] if self._kind == kind else [self._leave(), self._start(kind, empty)]

    def _start(self, kind: str, empty: Mapping[str, Any]) -> bytes:
        self._kind, self._block = kind, self._block + 1
        block = {"type": kind, **empty}
        return server_sent("content_block_start", {"index": self._block, "content_block": block})

    def _delta(self, delta: Mapping[str, Any], block: int | None = None) -> bytes:
        index = self._block if block is None else block
        return server_sent("content_block_delta", {"index": index, "delta": delta})

    def _leave(self) -> bytes:
        if not self._kind:
            return b""
        self._kind = ""
        return server_sent("content_block_stop", {"index": self._block})

    def _ended(self) -> bytes:
        delta = _stop(self._choice, bool(self._calls))
        return b"".join(
            [
                self._leave(),
                server_sent("message_delta", {"delta": delta, "usage": _usage(self._usage)}),
                server_sent("message_stop", {}),
            ]
        )

    def _failed(self, words: str) -> bytes:
        return server_sent("error", {"error": {"type": "api_error", "message": words}})


def _stop(choice: Mapping[str, Any], called: bool) -> dict[str, Any]:
    """vLLM names the stop sequence that was met in `stop_reason`; for a call that the caller demanded it says
    `stop`."""
    finish, met = choice.get("finish_reason"), choice.get("stop_reason")
    if finish == "stop" and called:
        return {"stop_reason": "tool_use", "stop_sequence": None}
    if finish == "stop" and isinstance(met, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": met}
    return {"stop_reason": _STOP_REASONS.get(str(finish), "end_turn"), "stop_sequence": None}


def _usage(said: Mapping[str, Any] | None) -> dict[str, int]:
    """Anthropic counts what came from the cache separately."""
    said = said or {}
    cached = (said.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "input_tokens": max(0, (said.get("prompt_tokens") or 0) - cached),
        "cache_read_input_tokens": cached,
        "output_tokens": said.get("completion_tokens") or 0,
    }


def _reasoning(said: Mapping[str, Any]) -> str:
    """Under either of the names that model servers give it."""
    return said.get("reasoning") or said.get("reasoning_content") or ""


def _tool_use(call: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that are not a JSON object, because the model erred or was cut off, are given as text."""
    function = call.get("function") or {}
    arguments = function.get("arguments") or "{}"
    try:
        read = decode(arguments.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        read = None
    given = read if isinstance(read, dict) else {"arguments": arguments}
    return {
        "type": "tool_use",
        "id": call.get("id") or "",
        "name": function.get("name") or "",
        "input": given,
    }
