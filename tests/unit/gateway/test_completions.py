"""Stored completions through the door, by the official client."""

import json
from datetime import UTC, datetime
from typing import Any

import openai
import pytest

from services.gateway.domain.stored import CompletionQuery, StoredCompletion, stored_fields
from shared.language.messages import Message, Text, ToolCall, text_message
from shared.language.turns import Turn

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def stored(name: str, *messages: Message) -> StoredCompletion:
    turns = tuple(
        Turn("local", "c", 1, message, "ada", metadata={"finish_reason": "stop"})
        for message in messages
    )
    return StoredCompletion(
        completion_id=name,
        model_version="assistant-v1",
        create_time=datetime(2026, 3, 1, tzinfo=UTC),
        metadata={"page": "a"},
        request={"temperature": 0.5, "user": "ada"},
        usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        choices=turns,
    )


async def test_store_true_is_noted_on_the_answer(gateway: Any) -> None:
    await gateway.openai.chat.completions.create(
        model="assistant",
        messages=HELLO,
        user="ada",
        store=True,
        metadata={"page": "a"},
        temperature=0.5,
        n=2,
    )
    asked, first, second = await gateway.logged()
    assert first.metadata["openai.stored"] == "true"
    assert json.loads(first.metadata["openai.request"]) == {
        "temperature": 0.5,
        "user": "ada",
        "n": 2,
    }
    assert json.loads(first.metadata["openai.metadata"]) == {"page": "a"}
    assert json.loads(first.metadata["openai.usage"])["total_tokens"] == 4
    assert "openai.stored" not in {**asked.metadata, **second.metadata}


async def test_without_a_word_it_is_logged_and_with_store_false_it_is_not(gateway: Any) -> None:
    create = gateway.openai.chat.completions.create
    await create(model="assistant", messages=HELLO, user="ada")
    await create(model="assistant", messages=HELLO, user="bob", store=False)
    turns = await gateway.logged()
    assert {turn.user_id for turn in turns} == {"ada"}
    assert "openai.stored" not in turns[1].metadata
    assert gateway.recorder.status()["left_out"] == {"STORE_FALSE": 1}


def test_large_tools_are_left_out_before_all_is() -> None:
    body = {"messages": [], "tools": ["x" * 40_000], "temperature": 1}
    fields = stored_fields(body, {}, {})
    assert fields["openai.request"] == '{"temperature":1}'
    assert stored_fields({"stop": ["x" * 40_000]}, {}, {})["openai.request"] == "{}"


async def test_a_stored_completion_comes_as_it_was(gateway: Any) -> None:
    call = Message("assistant", (Text("so"), ToolCall("call-1", "add", "{}")))
    answers = (call, text_message("assistant", "or so"))
    gateway.completions.stored["local", "chatcmpl-1"] = stored("chatcmpl-1", *answers)
    kept = await gateway.openai.chat.completions.retrieve("chatcmpl-1")
    assert (kept.id, kept.model, kept.usage.total_tokens) == ("chatcmpl-1", "assistant-v1", 3)
    first, second = kept.choices
    assert (first.index, first.finish_reason, first.message.content) == (0, "stop", "so")
    assert first.message.tool_calls[0].function.name == "add"
    assert second.message.content == "or so"
    assert kept.model_dump()["temperature"] == 0.5
    assert kept.model_dump()["input_user"] == "ada"


async def test_lists_pass_on_what_was_asked(gateway: Any) -> None:
    for name in ("a", "b", "c"):
        gateway.completions.stored["local", name] = stored(name, text_message("assistant", name))
    gateway.completions.stored["other", "d"] = stored("d", text_message("assistant", "d"))
    listed = await gateway.openai.chat.completions.list(
        model="assistant-v1", metadata={"page": "a"}, limit=2, order="desc", after="z"
    )
    assert [one.id for one in listed.data] == ["a", "b"]
    assert listed.has_next_page()
    assert gateway.completions.queries == [
        CompletionQuery(2, "z", True, "assistant-v1", {"page": "a"})
    ]


async def test_messages_are_paged(gateway: Any) -> None:
    gateway.completions.stored["local", "a"] = stored("a", text_message("assistant", "x"))
    gateway.completions.turns = [
        Turn("local", "c", index, text_message("user", f"say {index}"), "ada") for index in range(5)
    ]
    messages = gateway.openai.chat.completions.messages
    assert [one.content async for one in messages.list("a", limit=2)] == [
        f"say {index}" for index in range(5)
    ]
    newest = await messages.list("a", limit=1, order="desc")
    assert (newest.data[0].id, newest.data[0].role) == ("a-4", "user")


async def test_only_metadata_can_be_changed(gateway: Any) -> None:
    gateway.completions.stored["local", "a"] = stored("a", text_message("assistant", "x"))
    changed = await gateway.openai.chat.completions.update("a", metadata={"page": "b"})
    assert changed.model_dump()["metadata"] == {"page": "b"}
    for body, field in (
        ({"metadata": {}, "model": "x"}, "model"),
        ({"metadata": {"a": 1}}, "metadata"),
    ):
        answer = await gateway.http.post("/v1/chat/completions/a", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


async def test_what_is_not_ones_own_is_not_found(gateway: Any) -> None:
    gateway.completions.stored["other", "d"] = stored("d", text_message("assistant", "d"))
    with pytest.raises(openai.NotFoundError):
        await gateway.openai.chat.completions.retrieve("d")
    for query in ("limit=0", "limit=x", "order=up"):
        answer = await gateway.http.get(f"/v1/chat/completions?{query}")
        assert answer.status_code == 400, query
