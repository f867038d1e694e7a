"""A message's content, by which turns get their ids and calls find their conversations."""

import pytest

from shared.language.messages import Message, ToolCall, content_of


def called(arguments: str) -> str:
    return content_of(Message("assistant", (ToolCall("c", "f", arguments),)))


def test_arguments_are_compared_by_value() -> None:
    said = '{"b": 20.0, "a": ["Z\\u00fcrich", 1.5]}'
    assert (
        called(said) == called('{"a":["Zürich",1.5],"b":20}') == 'c f {"a":["Zürich",1.5],"b":20}'
    )
    assert called("") == called("{}")
    assert called('{"a": 1}') != called('{"a": 2}')


@pytest.mark.parametrize("said", ['{"a": ', "[" * 100_000, "Rome", '{"a": "\\ud83d"}'])
def test_any_arguments_have_a_content(said: str) -> None:
    assert called(said).encode()
