"""Chat messages as plain values, the same in every service's domain."""

from __future__ import annotations

from dataclasses import dataclass

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """An image, sound, video or file, by reference."""

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


def text_message(role: str, text: str) -> Message:
    return Message(role, (Text(text),))


def openai_messages(messages: tuple[Message, ...] | list[Message]) -> list[dict[str, str]]:
    """As the OpenAI protocol wants them, text only."""
    return [{"role": message.role, "content": message.text} for message in messages]
