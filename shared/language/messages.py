"""Chat messages as plain values, the same in every service's domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.language.identifiers import stable_id

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
    return "\n".join([_part_content(part) for part in message.parts]).strip()


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
            return f"{call_id} {function} {arguments}"
        case ToolResult(call_id, result):
            return f"{call_id} {result}"


def text_message(role: str, text: str) -> Message:
    return Message(role, (Text(text),))


def persona_words(persona: str) -> str:
    """How a prompt states what is known of its user: the same in training and in serving."""
    return f"What is known of the user: {persona}"


def with_persona(prompt: Sequence[Message], persona: str) -> tuple[Message, ...]:
    """The prompt with the persona appended to its system message."""
    if not persona:
        return tuple(prompt)
    words = persona_words(persona)
    if prompt and prompt[0].role == "system":
        return (text_message("system", f"{prompt[0].text}\n{words}"), *prompt[1:])
    return (text_message("system", words), *prompt)


def openai_messages(messages: tuple[Message, ...] | list[Message]) -> list[dict[str, str]]:
    """In the OpenAI protocol's form, text only."""
    return [{"role": message.role, "content": message.text} for message in messages]
