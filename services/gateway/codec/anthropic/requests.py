"""The body of /v1/messages as one of /v1/chat/completions.

Tool results become messages of their own, images become `image_url`, tools become functions, and
`metadata.user_id` the user. What only tunes Anthropic's own service is left out and named, what would change
the answer is refused, and fields that are in neither API go on to the model server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.gateway.codec.anthropic.blocks import asked_messages, assistant_message
from services.gateway.codec.fields import (
    a_text,
    an_object,
    content_of_parts,
    objects,
    unsupported,
    wrong,
)

_TRANSLATED = {
    "messages",
    "system",
    "tools",
    "tool_choice",
    "stop_sequences",
    "metadata",
    "output_config",
    "thinking",
}
# Hints about caching, billing, speed, and what may be cut from a long history. Answers are right without them.
_LEFT_OUT = (
    "cache_control",
    "service_tier",
    "inference_geo",
    "speed",
    "diagnostics",
    "context_management",
)
_UNSUPPORTED = ("container", "mcp_servers")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


@dataclass(frozen=True, slots=True)
class AnthropicRequest:
    """`chat`: the body for the chat. `left_out`: fields that had no effect. `thinking`: whether the caller
    wants to read the model's reasoning."""

    chat: dict[str, Any]
    left_out: tuple[str, ...]
    thinking: bool


def read_request(body: Mapping[str, Any]) -> AnthropicRequest:
    """InvalidArgument names the field that is wrong or not supported."""
    for name in _UNSUPPORTED:
        if body.get(name):
            raise unsupported(f"{name} is not supported by this gateway", name)
    chat = {name: value for name, value in body.items() if name not in (*_TRANSLATED, *_LEFT_OUT)}
    chat["messages"] = _messages(body)
    chat |= _tools(body) | _metadata(body.get("metadata")) | _output(body.get("output_config"))
    if (stops := body.get("stop_sequences")) is not None:
        chat["stop"] = stops
    if body.get("stream"):
        chat["stream_options"] = {"include_usage": True}
    thinking = an_object(body.get("thinking") or {}, "thinking")
    left_out = [name for name in _LEFT_OUT if body.get(name) is not None]
    if "budget_tokens" in thinking:
        left_out.append("thinking.budget_tokens")
    wanted = thinking.get("type") in ("enabled", "adaptive")
    return AnthropicRequest(chat, tuple(left_out), wanted)


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    said = objects(body.get("messages"), "messages")
    if said and said[-1][1].get("role") == "assistant":
        raise unsupported(
            "messages must end with the user's: beginning the model's answer for it is not supported",
            f"{said[-1][0]}.role",
        )
    found = _system(body.get("system"))
    for name, message in said:
        found += _message(message, name)
    return found


def _system(said: object) -> list[dict[str, Any]]:
    if not said:
        return []
    if isinstance(said, str):
        return [{"role": "system", "content": said}]
    texts = [
        {"type": "text", "text": a_text(block.get("text"), f"{name}.text")}
        for name, block in objects(said, "system")
    ]
    return [{"role": "system", "content": content_of_parts(texts)}]


def _message(message: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise wrong(f"{name}.role must be user, assistant or system", f"{name}.role")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    blocks = objects(content, f"{name}.content")
    if not blocks:
        raise wrong(f"{name}.content must not be empty", f"{name}.content")
    return [assistant_message(blocks)] if role == "assistant" else asked_messages(role, blocks)


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing if there are none."""
    found: dict[str, Any] = {}
    if body.get("tools"):
        found["tools"] = [_tool(tool, name) for name, tool in objects(body["tools"], "tools")]
    if choice := body.get("tool_choice"):
        choice = an_object(choice, "tool_choice")
        found["tool_choice"] = _tool_choice(choice)
        if choice.get("disable_parallel_tool_use"):
            found["parallel_tool_calls"] = False
    return found


def _tool(tool: Mapping[str, Any], name: str) -> dict[str, Any]:
    if tool.get("type") not in (None, "custom"):
        raise unsupported(
            f"{name}.type: {str(tool['type'])[:40]!r} runs at Anthropic, not here; only tools with an "
            "input_schema are supported",
            f"{name}.type",
        )
    function = {
        "name": a_text(tool.get("name"), f"{name}.name"),
        "parameters": an_object(tool.get("input_schema"), f"{name}.input_schema"),
    }
    function |= {key: tool[key] for key in ("description", "strict") if tool.get(key) is not None}
    return {"type": "function", "function": function}


def _tool_choice(choice: Mapping[str, Any]) -> Any:
    kind = choice.get("type")
    if kind == "tool":
        name = a_text(choice.get("name"), "tool_choice.name")
        return {"type": "function", "function": {"name": name}}
    if not isinstance(kind, str) or kind not in _CHOICES:
        raise wrong("tool_choice.type must be auto, any, tool or none", "tool_choice.type")
    return _CHOICES[kind]


def _metadata(said: object) -> dict[str, Any]:
    """The user, and as metadata what Anthropic does not know, such as `conversation_id`."""
    metadata = an_object(said or {}, "metadata")
    found: dict[str, Any] = {}
    if metadata.get("user_id") is not None:
        found["user"] = metadata["user_id"]
    if others := {name: value for name, value in metadata.items() if name != "user_id"}:
        found["metadata"] = others
    return found


def _output(said: object) -> dict[str, Any]:
    config, found = an_object(said or {}, "output_config"), {}
    if config.get("effort") is not None:
        found["reasoning_effort"] = config["effort"]
    if config.get("format") is not None:
        form = an_object(config["format"], "output_config.format")
        schema = an_object(form.get("schema"), "output_config.format.schema")
        named = {"name": "answer", "schema": schema, "strict": True}
        found["response_format"] = {"type": "json_schema", "json_schema": named}
    return found
