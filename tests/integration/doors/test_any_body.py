"""Whatever is wrong with a body, the doors answer it or refuse it as the caller's error, in their own form."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.doors.conftest import served

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=6))
ANY = st.recursive(
    LEAVES,
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(st.text(max_size=3), deeper),
)
TOOL_RESULT = {
    "type": "tool_result",
    "tool_use_id": "c-1",
    "is_error": True,
    "content": [
        {"type": "text", "text": "wet"},
        {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
    ],
}
MESSAGES = {
    "model": "assistant",
    "max_tokens": 10,
    "system": [{"type": "text", "text": "Be kind"}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "aWJ"},
                },
                {"type": "document", "source": {"type": "text", "data": "A letter"}},
                {"type": "document", "source": {"type": "content", "content": "Another"}},
                {
                    "type": "search_result",
                    "title": "t",
                    "source": "s",
                    "content": [{"type": "text", "text": "found"}],
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "On it"},
                {"type": "tool_use", "id": "c-1", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {"role": "user", "content": [TOOL_RESULT, {"type": "text", "text": "And?"}]},
    ],
    "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    "stop_sequences": ["END"],
    "metadata": {"user_id": "ada"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "stream": True,
}
RESPONSES = {
    "model": "assistant",
    "instructions": "Be kind",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "image_url": "https://x.example/a.png", "detail": "high"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:,a"},
                {"type": "input_audio", "input_audio": {"data": "aWJ", "format": "wav"}},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "On it", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c-1", "name": "weather", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "c-1",
            "output": [{"type": "input_text", "text": "wet"}],
        },
    ],
    "tools": [{"type": "function", "name": "weather", "parameters": {}, "strict": True}],
    "tool_choice": {"type": "function", "name": "weather"},
    "text": {"format": {"type": "json_schema", "name": "a", "schema": {}}},
    "reasoning": {"effort": "low"},
    "include": ["reasoning.encrypted_content"],
    "metadata": {"a": "b"},
    "store": True,
    "user": "ada",
    "stream": True,
}


def paths(inside: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of everything in a document."""
    places = inside.items() if isinstance(inside, dict) else enumerate(inside)
    for name, value in places:
        yield (*here, name)
        if isinstance(value, dict | list):
            yield from paths(value, (*here, name))


def changed(body: dict[str, Any], path: tuple[Any, ...], value: Any, removed: bool) -> Any:
    made = copy.deepcopy(body)
    inside: Any = made
    for name in path[:-1]:
        inside = inside[name]
    if removed:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return made


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/messages", MESSAGES), ("/v1/responses", RESPONSES)]
)
def test_any_body_is_answered_or_refused(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    """Each place of a rich body is replaced by anything, or removed."""
    seen: set[int] = set()
    with asyncio.Runner() as runner:
        door = served(tmp_path)
        here = runner.run(door.__aenter__())

        @settings(max_examples=200)
        @given(st.sampled_from(list(paths(body))), ANY, st.booleans())
        def ask(place: tuple[Any, ...], value: Any, removed: bool) -> None:
            content = json.dumps(changed(body, place, value, removed)).encode()
            answer = runner.run(here.http.post(path, content=content))
            seen.add(answer.status_code)
            assert answer.status_code in (200, 400, 404), (answer.status_code, answer.text)
            if answer.status_code != 200:
                assert answer.json()["error"]["message"]

        try:
            assert runner.run(here.http.post(path, json=body)).status_code == 200
            ask()
            logged = runner.run(here.logged())
        finally:
            runner.run(door.__aexit__(None, None, None))
    assert seen >= {200, 400}
    assert {turn.message.role for turn in logged} == {"user", "assistant", "tool"}
