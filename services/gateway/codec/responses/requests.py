"""The body of /v1/responses as one of /v1/chat/completions.

`instructions` become the system message, items of `input` messages, and an answer's text and calls one message,
as the chat gave them. What only tunes OpenAI's own service is left out and named, what would change the answer
is refused, and fields that are in neither API go on to the model server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.gateway.codec.fields import a_text, an_object, objects, unsupported, wrong
from services.gateway.domain.answer_ids import completion_of_response
from shared.language.errors import InvalidArgument

_TRANSLATED = {
    "input",
    "instructions",
    "previous_response_id",
    "max_output_tokens",
    "tools",
    "tool_choice",
    "text",
    "reasoning",
    "stream_options",
    "background",
    "store",
}
# Hints about caching, billing, OpenAI's own tools, and what may be cut from a long history. Answers are right
# without them.
_LEFT_OUT = (
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "max_tool_calls",
    "include",
    "context_management",
    "truncation",
)
_UNSUPPORTED = ("background", "conversation", "prompt", "moderation")
_LOGPROBS = "message.output_text.logprobs"
_SCHEMA_FIELDS = ("name", "schema", "strict", "description")
_FUNCTION_FIELDS = ("description", "parameters", "strict")
# Of the request, as the response repeats them.
_REPEATED = (
    "instructions",
    "max_output_tokens",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "user",
)


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    """`chat`: the body for the chat, without messages. `instructions`: those of this call alone. `items`: what
    is new in the conversation, each with its path. `repeated`: what the response repeats of the request."""

    chat: dict[str, Any]
    instructions: str
    items: Sequence[tuple[str, Mapping[str, Any]]]
    # The completion that this call continues from; empty if it names none.
    previous_id: str
    repeated: dict[str, Any]
    left_out: tuple[str, ...]

    @property
    def stored(self) -> bool:
        return bool(self.chat["store"])


def read_request(body: Mapping[str, Any]) -> ResponsesRequest:
    """InvalidArgument names the field that is wrong or not supported."""
    _refuse_unsupported(body)
    dropped = {*_TRANSLATED, *_LEFT_OUT}
    chat = {name: value for name, value in body.items() if name not in dropped}
    chat["store"] = True if body.get("store") is None else body["store"]
    if (most := body.get("max_output_tokens")) is not None:
        chat["max_completion_tokens"] = most
    chat |= _tools(body) | _text(body.get("text")) | _reasoning(body.get("reasoning"))
    if body.get("stream"):
        chat["stream_options"] = {"include_usage": True}
    return ResponsesRequest(
        chat=chat,
        instructions=a_text(body.get("instructions") or "", "instructions"),
        items=_items(body.get("input")),
        previous_id=_previous(body.get("previous_response_id")),
        repeated={name: body[name] for name in _REPEATED if body.get(name) is not None},
        left_out=tuple(name for name in _LEFT_OUT if body.get(name) not in (None, [], "disabled")),
    )


def _previous(said: object) -> str:
    if said is None or said == "":
        return ""
    name = a_text(said, "previous_response_id")
    if found := completion_of_response(name):
        return found
    raise InvalidArgument(
        f"Previous response with id {name[:80]!r} not found: it did not come from this gateway",
        reason="PREVIOUS_RESPONSE_NOT_FOUND",
        field="previous_response_id",
    )


def _refuse_unsupported(body: Mapping[str, Any]) -> None:
    for name in _UNSUPPORTED:
        if body.get(name):
            raise unsupported(f"{name} is not supported by this gateway; leave it out", name)
    include = body.get("include")
    if body.get("top_logprobs") or (isinstance(include, list) and _LOGPROBS in include):
        raise unsupported("logprobs are only supported in /v1/chat/completions", "top_logprobs")


def _items(said: object) -> list[tuple[str, Mapping[str, Any]]]:
    if isinstance(said, str):
        return [("input", {"role": "user", "content": said})]
    if said is None or said == []:
        raise wrong("input must be a string or a list with at least one item", "input")
    return objects(said, "input")


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if body.get("tools"):
        found["tools"] = [_tool(tool, name) for name, tool in objects(body["tools"], "tools")]
    if (choice := body.get("tool_choice")) is not None:
        found["tool_choice"] = choice if isinstance(choice, str) else _tool_choice(choice)
    return found


def _tool(tool: Mapping[str, Any], name: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise unsupported(
            f"{name}.type must be function: {str(tool.get('type'))[:40]!r} runs at OpenAI, not here",
            f"{name}.type",
        )
    function = {"name": a_text(tool.get("name"), f"{name}.name")}
    function |= {field: tool[field] for field in _FUNCTION_FIELDS if tool.get(field) is not None}
    return {"type": "function", "function": function}


def _tool_choice(choice: object) -> dict[str, Any]:
    named = an_object(choice, "tool_choice")
    if named.get("type") != "function":
        raise unsupported(
            "tool_choice must be auto, none, required or a function", "tool_choice.type"
        )
    function = {"name": a_text(named.get("name"), "tool_choice.name")}
    return {"type": "function", "function": function}


def _text(said: object) -> dict[str, Any]:
    """The form of the answer; free text needs nothing."""
    form = an_object(an_object(said or {}, "text").get("format") or {}, "text.format")
    kind = form.get("type", "text")
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"response_format": {"type": kind}}
    if kind != "json_schema":
        raise wrong("text.format.type must be text, json_object or json_schema", "text.format.type")
    named = {name: form[name] for name in _SCHEMA_FIELDS if form.get(name) is not None}
    return {"response_format": {"type": kind, "json_schema": named}}


def _reasoning(said: object) -> dict[str, Any]:
    effort = an_object(said or {}, "reasoning").get("effort")
    return {} if effort is None else {"reasoning_effort": effort}
