"""An answer is the same message whether it came whole or in chunks, and whatever it says is in it."""

from typing import Any

import pytest

from services.gateway.domain.answers import Answer
from shared.language.messages import Part, Text, ToolCall
from shared.language.openai_messages import read_message

WHOLE: dict[str, tuple[dict[str, Any], list[Part]]] = {
    "function_call": (
        {"content": None, "function_call": {"name": "add", "arguments": '{"a":1}'}},
        [ToolCall("", "add", '{"a":1}')],
    ),
    "custom": (
        {
            "content": "Let me see",
            "tool_calls": [
                {"id": "c1", "type": "custom", "custom": {"name": "run", "input": "ls -l"}}
            ],
        },
        [Text("Let me see"), ToolCall("c1", "run", "ls -l")],
    ),
    "audio": (
        {"content": None, "audio": {"id": "a1", "transcript": "Hello there", "data": "UklG"}},
        [Text("Hello there")],
    ),
    "refusal": ({"content": None, "refusal": "I cannot"}, [Text("I cannot")]),
}
CHUNKS: dict[str, list[dict[str, Any]]] = {
    "function_call": [
        {"role": "assistant", "function_call": {"name": "add", "arguments": ""}},
        {"function_call": {"arguments": '{"a"'}},
        {"function_call": {"arguments": ":1}"}},
    ],
    "custom": [
        {"content": "Let me see"},
        {"tool_calls": [{"index": 0, "id": "c1", "type": "custom", "custom": {"name": "run"}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "ls "}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "-l"}}]},
    ],
    "audio": [
        {"audio": {"id": "a1"}},
        {"audio": {"transcript": "Hello "}},
        {"audio": {"data": "UklG"}},
        {"audio": {"transcript": "there"}},
    ],
    "refusal": [{"refusal": "I "}, {"refusal": "cannot"}],
}


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_and_streamed_are_one_message(kind: str) -> None:
    said, parts = WHOLE[kind]
    whole, streamed = Answer(), Answer()
    whole.add({"id": "x", "choices": [{"index": 0, "message": said}]})
    for delta in CHUNKS[kind]:
        streamed.add({"id": "x", "choices": [{"index": 0, "delta": delta}]})
    assert list(whole.choices[0].message().parts) == parts
    assert streamed.choices[0].message() == whole.choices[0].message()
    # As the client sends it again: the same turn.
    assert read_message({"role": "assistant", **said}, "m") == whole.choices[0].message()
