"""A streamed chat as a response's events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.gateway.codec.chat_stream import ChatTranslator, Chunk, server_sent
from services.gateway.codec.responses.answers import (
    begun,
    call_item,
    finished,
    item_status,
    message_item,
    text_part,
)
from services.gateway.domain.answers import Answer
from shared.language.json_text import tidied
from shared.language.messages import ToolCall


class ResponseEvents(ChatTranslator):
    """Items follow one another: the text, then each call. `answered` is called with the answer once it is
    complete, before the caller is told so."""

    def __init__(self, repeated: Mapping[str, Any], answered: Callable[[Answer], None]) -> None:
        super().__init__()
        self._repeated, self._answered = repeated, answered
        self._response: dict[str, Any] = {}
        self._answer = Answer()
        self._number = 0
        # Finished items, and what the one under way has so far: text, or a call by its place in the chat.
        self._output: list[dict[str, Any]] = []
        self._text: list[str] = []
        self._call: tuple[int, ToolCall, list[str]] | None = None
        self._calls = 0

    @property
    def _is_complete(self) -> bool:
        return self._answer.ended

    def _waiting(self) -> bytes:
        return b": waiting\n\n"

    def _chunk(self, chunk: Chunk) -> bytes:
        events = [] if self._response else self._begin(chunk.document)
        self._answer.add(chunk.document)
        if chunk.choice.get("index", 0) == 0:
            events += self._said(chunk.delta)
        return b"".join(events)

    def _begin(self, document: Mapping[str, Any]) -> list[bytes]:
        self._response = begun(document, self._repeated)
        kinds = ("response.created", "response.in_progress")
        return [self._tell(kind, response=self._response) for kind in kinds]

    def _said(self, delta: Mapping[str, Any]) -> list[bytes]:
        events: list[bytes] = []
        if text := "".join(delta.get(name) or "" for name in ("content", "refusal")):
            events += [] if self._text else self._begin_text()
            self._text.append(text)
            events.append(self._tell_text("response.output_text.delta", delta=text, logprobs=[]))
        for place, call in enumerate(delta.get("tool_calls") or ()):
            events += self._called(call.get("index", place), call)
        return events

    def _begin_text(self) -> list[bytes]:
        events = self._finish_item()
        item = {**message_item(self._id, ""), "content": [], "status": "in_progress"}
        return [
            *events,
            self._tell_item("response.output_item.added", item=item),
            self._tell_text("response.content_part.added", part=text_part("")),
        ]

    def _called(self, place: int, call: Mapping[str, Any]) -> list[bytes]:
        function, events = call.get("function") or {}, []
        if self._call is None or self._call[0] != place:
            events += self._finish_item()
            named = ToolCall(call.get("id") or "", function.get("name") or "", "")
            self._call = (place, named, [])
            item = {**call_item(self._id, self._calls, named), "status": "in_progress"}
            events.append(self._tell_item("response.output_item.added", item=item))
        if arguments := function.get("arguments"):
            self._call[2].append(arguments)
            kind = "response.function_call_arguments.delta"
            item_id = call_item(self._id, self._calls, self._call[1])["id"]
            events.append(self._tell_item(kind, item_id=item_id, delta=arguments))
        return events

    def _finish_item(self) -> list[bytes]:
        if self._text:
            return self._finish_text(tidied("".join(self._text)))
        if self._call is not None:
            return self._finish_call(*self._call)
        return []

    def _finish_text(self, text: str) -> list[bytes]:
        item, part = message_item(self._id, text), text_part(text)
        events = [
            self._tell_text("response.output_text.done", text=text, logprobs=[]),
            self._tell_text("response.content_part.done", part=part),
        ]
        self._text = []
        return [*events, self._done(item)]

    def _finish_call(self, _: int, named: ToolCall, pieces: list[str]) -> list[bytes]:
        call = ToolCall(named.call_id, named.function, tidied("".join(pieces)))
        item = call_item(self._id, self._calls, call)
        kind = "response.function_call_arguments.done"
        told = self._tell_item(
            kind, item_id=item["id"], name=call.function, arguments=call.arguments
        )
        self._call, self._calls = None, self._calls + 1
        return [told, self._done(item)]

    def _done(self, item: dict[str, Any]) -> bytes:
        finish = self._answer.choices[0].finish_reason
        item["status"] = item_status(finish)
        told = self._tell_item("response.output_item.done", item=item)
        self._output.append(item)
        return told

    def _ended(self) -> bytes:
        events = self._finish_item()
        response = finished(self._response, self._answer)
        self._answered(self._answer)
        return b"".join([*events, self._tell(f"response.{response['status']}", response=response)])

    def _failed(self, words: str) -> bytes:
        error = {"code": "server_error", "message": words}
        if not self._response:
            return self._tell("error", **error, param=None)
        failed = {**self._response, "status": "failed", "error": error, "output": self._output}
        return self._tell("response.failed", response=failed)

    @property
    def _id(self) -> str:
        return self._answer.completion_id

    def _tell_text(self, kind: str, **fields: Any) -> bytes:
        item_id = message_item(self._id, "")["id"]
        return self._tell_item(kind, item_id=item_id, content_index=0, **fields)

    def _tell_item(self, kind: str, **fields: Any) -> bytes:
        return self._tell(kind, output_index=len(self._output), **fields)

    def _tell(self, kind: str, **fields: Any) -> bytes:
        told = server_sent(kind, {"sequence_number": self._number, **fields})
        self._number += 1
        return told
