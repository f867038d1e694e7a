"""Answers that are no plain text leave no hole in a conversation, at any door that takes OpenAI's messages."""

from __future__ import annotations

from typing import Any

import pytest

from shared.language.messages import ToolCall
from tests.unit.gateway.test_answers import WHOLE

CALL = {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "run", "input": "ls -l"}}
KINDS = {
    **WHOLE,
    "custom": ({"content": None, "tool_calls": [CALL]}, [ToolCall("c1", "run", "ls -l")]),
}
USER = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True])
async def test_in_chats(gateway: Any, kind: str, stream: bool) -> None:
    said, parts = KINDS[kind]
    gateway.model.says = {"role": "assistant", **said}
    asked = {"model": "assistant", "messages": [USER], "user": "ada", "stream": stream}
    answer = await gateway.http.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200
    gateway.model.says = None
    again = [USER, {"role": "assistant", **said}, {"role": "user", "content": "And?"}]
    await gateway.http.post("/v1/chat/completions", json={**asked, "messages": again})
    turns = await gateway.logged()
    assert [turn.index for turn in turns] == [0, 1, 2, 3]
    assert len({turn.conversation_id for turn in turns}) == 1
    assert list(turns[1].message.parts) == parts
    assert [turn.model_version for turn in turns] == ["", "assistant-v0"] * 2


@pytest.mark.parametrize("kind", KINDS)
async def test_over_rest(gateway: Any, kind: str) -> None:
    said, parts = KINDS[kind]
    messages = [USER, {"role": "assistant", **said}, {"role": "user", "content": "And?"}]
    item = {"id": "c", "user": "ada", "messages": messages}
    answer = await gateway.http.post("/v1/conversations", json={"conversations": [item]})
    assert answer.json()["accepted"] == 1
    assert [turn.index for turn in gateway.sink.turns] == [0, 1, 2]
    assert list(gateway.sink.turns[1].message.parts) == parts
