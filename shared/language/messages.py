"""Chat messages as plain values, the same in every service's domain."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shared.language.identifiers import stable_id
from shared.language.json_text import by_value

ROLES = ("system", "user", "assistant", "tool")
# How a turn that replaces another came about; "" if it replaces none.
SIGNALS = ("", "regeneration", "edit")


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """An image, audio, video or file, by reference."""

    uri: str
    mime_type: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    call_id: str
    function: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    result: str


Part = Text | Media | ToolCall | ToolResult
_PARTS: dict[str, type[Part]] = {
    "text": Text,
    "media": Media,
    "tool_call": ToolCall,
    "tool_result": ToolResult,
}
_KINDS = {kind: name for name, kind in _PARTS.items()}
_MEDIA = ("image", "audio", "video")


@dataclass(frozen=True, slots=True)
class Message:
    """`role` is one of ROLES."""

    role: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text parts, one below the other."""
        return "\n".join(part.text for part in self.parts if isinstance(part, Text))


def content_of(message: Message) -> str:
    """A message's content as one string, for ids, stripped: clients strip leading and trailing whitespace."""
    parts = message.parts
    if len(parts) == 1 and isinstance(parts[0], Text):  # almost all
        return parts[0].text.strip()
    return "\n".join([_part_content(part) for part in parts]).strip()


def default_turn_id(index: int, message: Message) -> str:
    """The id of a turn that was given none: made of place, role and content alone, so that an answer has one
    id no matter which client logs it."""
    return f"{index:06d}-{stable_id(message.role, content_of(message))[:10]}"


def _part_content(part: Part) -> str:
    match part:
        case Text(text):
            return text
        case Media(uri, _):
            return uri
        case ToolCall(call_id, function, arguments):
            return f"{call_id} {function} {by_value(arguments or '{}')}"
        case ToolResult(call_id, result):
            return f"{call_id} {result}"


def text_message(role: str, text: str) -> Message:
    return Message(role, (Text(text),))


def persona_words(persona: str) -> str:
    """How a prompt states what is known of its user: the same in training and in serving."""
    return f"What is known of the user: {persona}"


def with_persona(prompt: Sequence[Message], persona: str) -> tuple[Message, ...]:
    """The prompt with the persona appended to its system message."""
    return with_instruction(prompt, persona_words(persona) if persona else "")


def with_instruction(prompt: Sequence[Message], words: str) -> tuple[Message, ...]:
    """The prompt with the words appended to its system message."""
    if not words:
        return tuple(prompt)
    if prompt and prompt[0].role == "system":
        return (text_message("system", f"{plain_text(prompt[0])}\n{words}"), *prompt[1:])
    return (text_message("system", words), *prompt)


def plain_text(message: Message) -> str:
    """Everything in the message as text, one part below the other: a call as "[calls NAME with ARGUMENTS]", an
    image as "[image]". For models and templates that know text only."""
    return "\n".join(filter(None, map(_plain_part, message.parts)))


def openai_messages(
    messages: Sequence[Message], *, calls_as_text: bool = True
) -> list[dict[str, Any]]:
    """In the OpenAI protocol's form, text only. No turn is empty because it calls a tool or holds its result:
    results are the content of `tool` messages, calls are text, or `tool_calls` where that is asked for."""
    if calls_as_text:
        return [{"role": message.role, "content": plain_text(message)} for message in messages]
    return [one for message in messages for one in _with_tools(message)]


def message_row(message: Message) -> list[Any]:
    """The message as JSON, for `message_of`: [role, text], or [role, parts] if it holds more than text."""
    if all(isinstance(part, Text) for part in message.parts):
        return [message.role, message.text]
    return [message.role, [{_KINDS[type(part)]: asdict(part)} for part in message.parts]]


def message_of(row: Sequence[Any]) -> Message:
    """What `message_row` wrote."""
    role, content = row
    if isinstance(content, str):
        return text_message(role, content)
    parts = [_PARTS[kind](**fields) for one in content for kind, fields in one.items()]
    return Message(role, tuple(parts))


def _plain_part(part: Part) -> str:
    match part:
        case Text(text):
            return text
        case Media(_, mime_type):
            return f"[{next((kind for kind in _MEDIA if kind in mime_type), 'file')}]"
        case ToolCall(_, function, arguments):
            return f"[calls {function} with {arguments}]"
        case ToolResult(_, result):
            return result


def _with_tools(message: Message) -> list[dict[str, Any]]:
    """A message for each result, then one for everything else."""
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    calls = [part for part in message.parts if isinstance(part, ToolCall) and _is_object(part)]
    said = tuple(part for part in message.parts if part not in results and part not in calls)
    written: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": one.call_id, "content": one.result} for one in results
    ]
    if said or calls or not results:
        one = {"role": message.role, "content": plain_text(Message(message.role, said))}
        written.append(one | ({"tool_calls": [_call(call) for call in calls]} if calls else {}))
    return written


def _is_object(call: ToolCall) -> bool:
    """Whether engines and templates can read its arguments; otherwise it is sent as text, since one that
    cannot be read makes them refuse the whole request."""
    try:
        return isinstance(json.loads(call.arguments), dict)
    except ValueError:
        return False


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.function, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function}
