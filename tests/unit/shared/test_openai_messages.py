"""Whatever a model can say in OpenAI's format is kept, as a call, a text or media."""

from typing import Any

import pytest

from shared.language.messages import Media, Message, Part, Text, ToolCall, ToolResult
from shared.language.openai_messages import has_content, read_message


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        (
            {"content": None, "function_call": {"name": "add", "arguments": "{}"}},
            [ToolCall("", "add", "{}")],
        ),
        (
            {
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "custom", "custom": {"name": "run", "input": "ls -l"}},
                    {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                ],
            },
            [ToolCall("c1", "run", "ls -l"), ToolCall("c2", "f", "{}")],
        ),
        ({"content": None, "refusal": "I cannot"}, [Text("I cannot")]),
        (
            {"content": None, "audio": {"id": "a1", "transcript": "Hello", "data": "UklG"}},
            [Text("Hello")],
        ),
        ({"audio": {"id": "a1"}}, [Media("a1", "audio")]),
        ({"content": "Hi", "refusal": None, "audio": None, "function_call": None}, [Text("Hi")]),
    ],
)
def test_what_stands_beside_the_content_is_kept(said: dict[str, Any], parts: list[Part]) -> None:
    message = read_message({"role": "assistant", **said}, "m")
    assert message == Message("assistant", tuple(parts))
    assert has_content(message)


def test_audio_of_a_user_is_kept_by_its_digest() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}
    (part,) = read_message({"role": "user", "content": [audio]}, "m").parts
    assert isinstance(part, Media)
    assert (part.mime_type, part.uri[:7]) == ("input_audio", "sha256:")


def test_parts_of_unknown_kinds_are_told_apart() -> None:
    parts: list[Any] = [{"type": "tool_use", "id": name, "input": {}} for name in ("a", "b")]
    first, second = read_message({"role": "assistant", "content": parts}, "m").parts
    assert first != second


def test_a_tools_picture_is_kept_beside_its_result() -> None:
    content = [
        {"type": "text", "text": "done"},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
    ]
    message = read_message({"role": "tool", "tool_call_id": "c1", "content": content}, "m")
    assert message.parts == (ToolResult("c1", "done"), Media("https://x/y.png", "image_url"))
    legacy = read_message({"role": "function", "name": "add", "content": "3"}, "m")
    assert legacy == Message("tool", (ToolResult("add", "3"),))
