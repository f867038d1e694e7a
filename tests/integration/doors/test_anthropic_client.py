"""Anthropic's official client at the gateway: what it gets, what the model server is asked, what is logged."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from openai import AsyncOpenAI

from services.gateway.domain.rollout import Rollout, Version
from tests.integration.doors.conftest import Served, called, served

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER: Any = {
    "name": "weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
# As models write arguments: with spaces that a client does not keep.
ROME = called(("call-1", "weather", '{"city":  "Rome", "days": 2.0}'))


def client_of(door: Served) -> anthropic.AsyncAnthropic:
    http = anthropic.DefaultAsyncHttpxClient(trust_env=False)
    return anthropic.AsyncAnthropic(
        api_key=door.key, base_url=door.url, http_client=http, max_retries=0
    )


@pytest.fixture
async def client(door: Served) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with client_of(door) as made:
        yield made


def hello(**more: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": "assistant", "max_tokens": 100}
    return {**asked, "messages": [{"role": "user", "content": "Hello"}], **more}


def body_of(raised: pytest.ExceptionInfo[anthropic.APIStatusError]) -> Any:
    return raised.value.body


async def test_a_message_is_answered_and_logged(door: Served, client: Any) -> None:
    door.model.script = [{"content": "Hi there"}]
    raw = await client.messages.with_raw_response.create(
        **hello(system="Be kind", metadata={"user_id": "ada"}),
        stop_sequences=["END"],
        extra_body={"temperature": 0.3, "top_k": 5, "min_p": 0.1},
    )
    message = await raw.parse()
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "Hi there"}]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert (message.model, message.role, message.type) == ("assistant-v0", "assistant", "message")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 3)
    assert message.id == "msg_trimtab_chatcmpl-1"
    assert raw.headers["x-trimtab-version"] == "assistant-v0"
    (sent,) = door.model.bodies
    assert sent == {
        "model": "base",
        "max_tokens": 100,
        "messages": [
            {"role": "system", "content": "Be kind"},
            {"role": "user", "content": "Hello"},
        ],
        "stop": ["END"],
        "temperature": 0.3,
        "top_k": 5,
        "min_p": 0.1,
        "user": "ada",
    }
    user, answer = await door.logged()
    assert (user.message.text, answer.message.text) == ("Hello", "Hi there")
    assert {user.user_id, answer.user_id} == {"ada"}
    assert answer.conversation_id == raw.headers["x-trimtab-conversation"]
    assert door.gateway.measured == [("/v1/messages", 200, "assistant-v0")]


async def test_events_come_in_anthropics_order(door: Served) -> None:
    door.model.script = [{"content": "Let me look", "tool_calls": ROME, "finish": "tool_calls"}]
    answer = await door.http.post("/v1/messages", json=hello(stream=True, tools=[WEATHER]))
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:5] == "data:"]
    names = [line[7:] for line in answer.text.splitlines() if line[:6] == "event:"]
    assert names == [event["type"] for event in events]
    shown = [f"{event['type']} {event.get('index', '')}".strip() for event in events]
    shown = [one for place, one in enumerate(shown) if place == 0 or one != shown[place - 1]]
    assert shown == [
        "message_start",
        "ping",
        "content_block_start 0",
        "content_block_delta 0",
        "content_block_stop 0",
        "content_block_start 1",
        "content_block_delta 1",
        "content_block_stop 1",
        "message_delta",
        "message_stop",
    ]
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[-2]["usage"] == {
        "input_tokens": 11,
        "cache_read_input_tokens": 0,
        "output_tokens": 3,
    }


async def test_a_tool_is_called_answered_and_all_of_it_is_one_conversation(
    door: Served, client: Any
) -> None:
    door.model.script = [
        {"content": "Looking", "tool_calls": ROME, "finish": "tool_calls"},
        {"content": "Sunny"},
        {"content": "Glad to help"},
    ]
    messages: list[Any] = [{"role": "user", "content": "Weather in Rome?"}]
    for said in (
        [
            {
                "type": "tool_result",
                "tool_use_id": "call-1",
                "content": [{"type": "text", "text": "22 C"}],
            }
        ],
        "Thanks",
        None,
    ):
        async with client.messages.stream(
            **hello(messages=messages, tools=[WEATHER], tool_choice={"type": "any"})
        ) as stream:
            answer = await stream.get_final_message()
        messages += [
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": said},
        ]
    first = messages[1]["content"]
    assert [block.type for block in first] == ["text", "tool_use"]
    assert (first[1].id, first[1].name) == ("call-1", "weather")
    assert first[1].input == {"city": "Rome", "days": 2.0}
    (function,) = door.model.bodies[0]["tools"]
    assert function["function"]["parameters"] == WEATHER["input_schema"]
    assert door.model.bodies[0]["tool_choice"] == "required"
    assert door.model.bodies[1]["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Looking",
            "tool_calls": called(("call-1", "weather", '{"city":"Rome","days":2.0}')),
        },
        {"role": "tool", "tool_call_id": "call-1", "content": "22 C"},
    ]
    turns = await door.logged()
    assert len({turn.conversation_id for turn in turns}) == 1
    assert [turn.index for turn in turns] == [0, 1, 2, 3, 4, 5]
    roles = [turn.message.role for turn in turns]
    assert roles == ["user", "assistant", "tool", "assistant", "user", "assistant"]


async def test_the_turns_are_those_of_the_same_conversation_over_chat(
    door: Served, chat_door: Served, client: Any
) -> None:
    """Two rounds with an image, a call, its result and an answer that is streamed."""
    script: list[Any] = [
        {"content": "A dot.", "tool_calls": ROME, "finish": "tool_calls"},
        {"content": "Rain"},
    ]
    door.model.script, chat_door.model.script = list(script), list(script)
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    blocks = [{"type": "text", "text": "What is it?"}, {"type": "image", "source": source}]
    first = await client.messages.create(
        **hello(messages=[{"role": "user", "content": blocks}], metadata={"user_id": "ada"})
    )
    result = {"type": "tool_result", "tool_use_id": "call-1", "content": "wet"}
    messages = [
        {"role": "user", "content": blocks},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    stream = await client.messages.create(
        **hello(messages=messages, metadata={"user_id": "ada"}, stream=True)
    )
    assert [event.type async for event in stream][-1] == "message_stop"

    url = {"url": f"data:image/png;base64,{PNG}"}
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": url}]
    said: list[Any] = [{"role": "user", "content": parts}]
    async with AsyncOpenAI(api_key=chat_door.key, base_url=f"{chat_door.url}/v1") as openai:
        chat: Any = {"model": "assistant", "max_tokens": 100, "user": "ada"}
        answer = await openai.chat.completions.create(**chat, messages=said)
        said += [
            answer.choices[0].message,
            {"role": "tool", "tool_call_id": "call-1", "content": "wet"},
        ]
        options: Any = {"include_usage": True}
        chunks = await openai.chat.completions.create(
            **chat, messages=said, stream=True, stream_options=options
        )
        async for _ in chunks:
            continue
    assert await door.plain() == await chat_door.plain()
    assert len(await door.plain()) == 4


async def test_images_and_documents_reach_the_model_server(door: Served, client: Any) -> None:
    blocks = [
        {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "A letter"},
        },
        {"type": "text", "text": "Compare", "cache_control": {"type": "ephemeral"}},
    ]
    await client.messages.create(**hello(messages=[{"role": "user", "content": blocks}]))
    assert door.model.bodies[0]["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                {"type": "text", "text": "A letter"},
                {"type": "text", "text": "Compare"},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("ended", "reason", "sequence"),
    [
        ({"finish": "length"}, "max_tokens", None),
        ({"met": "END"}, "stop_sequence", "END"),
        ({"finish": "content_filter"}, "refusal", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_why_an_answer_ended(
    door: Served, client: Any, stream: bool, ended: dict[str, str], reason: str, sequence: str
) -> None:
    door.model.script = [{"content": "Hi", **ended}]
    if stream:
        async with client.messages.stream(**hello()) as events:
            message = await events.get_final_message()
    else:
        message = await client.messages.create(**hello())
    assert (message.stop_reason, message.stop_sequence) == (reason, sequence)
    assert message.usage.input_tokens == 11


@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_is_given_to_those_who_ask_for_it(
    door: Served, client: Any, stream: bool
) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    seen = []
    for asked in ({"thinking": thinking}, {}):
        door.model.script = [{"content": "Hi", "reasoning": "Greet back."}]
        if stream:
            async with client.messages.stream(**hello(**asked)) as events:
                message = await events.get_final_message()
        else:
            message = await client.messages.create(**hello(**asked))
        seen.append([block.type for block in message.content])
    assert seen == [["thinking", "text"], ["text"]]
    turns = await door.logged()
    assert {turn.message.text for turn in turns if turn.message.role == "assistant"} == {"Hi"}


async def test_errors_are_anthropics(door: Served, client: Any) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        await client.messages.create(**hello(model="claude-x"))
    assert body_of(missing)["type"] == "error"
    assert body_of(missing)["error"]["type"] == "not_found_error"
    assert "use one of: assistant, assistant-v0" in body_of(missing)["error"]["message"]
    with pytest.raises(anthropic.BadRequestError, match=r"tools\[0\].type: 'web_search_20250305'"):
        await client.messages.create(
            **hello(tools=[{"type": "web_search_20250305", "name": "web_search"}])
        )
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]\.content\[0\]"):
        file = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
        await client.messages.create(**hello(messages=[{"role": "user", "content": [file]}]))
    with pytest.raises(anthropic.AuthenticationError) as stranger:
        await client.with_options(api_key="wrong").messages.create(**hello())
    assert body_of(stranger)["error"]["type"] == "authentication_error"
    assert await door.logged() == []


async def test_errors_of_the_model_server_are_put_in_anthropics_form(
    door: Served, client: Any
) -> None:
    door.gateway.serve(Rollout(1, Version("assistant-v1", "broken")))
    with pytest.raises(anthropic.BadRequestError) as bad:
        await client.messages.create(**hello())
    error = {"type": "invalid_request_error", "message": "context too long"}
    assert body_of(bad) == {"type": "error", "error": error}
    door.gateway.serve(Rollout(2, Version("assistant-v1", "busy")))
    with pytest.raises(anthropic.RateLimitError) as busy:
        await client.messages.create(**hello(stream=True))
    assert busy.value.response.headers["retry-after"] == "7"
    assert body_of(busy)["error"] == {"type": "rate_limit_error", "message": "slow down"}


async def test_a_model_server_that_breaks_off_is_an_error_in_the_stream(
    door: Served, client: Any
) -> None:
    door.model.break_after = 2
    with pytest.raises(anthropic.APIStatusError, match="broke off"):
        async with client.messages.stream(**hello()) as stream:
            await stream.get_final_message()
    _, logged = await door.logged()
    assert logged.message.text == "word word "
    assert logged.metadata == {"aborted_by": "upstream"}


async def test_a_client_that_stops_in_mid_stream_is_logged_as_far_as_it_came(
    door: Served, client: Any
) -> None:
    door.model.go_on.clear()
    async with client.messages.stream(**hello(metadata={"user_id": "ada"})) as stream:
        async for text in stream.text_stream:
            assert text == "word "
            break
    async with asyncio.timeout(5):
        while len(door.gateway.sink.turns) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    _, logged = door.gateway.sink.turns
    assert (logged.message.text, logged.user_id) == ("word ", "ada")
    assert logged.metadata == {"aborted_by": "client"}


async def test_feedback_on_the_messages_id_is_on_its_turn(door: Served, client: Any) -> None:
    message = await client.messages.create(**hello())
    opinion = {"completion_id": message.id, "user": "ada", "value": True}
    headers = {"x-api-key": door.key, "authorization": ""}
    answer = await door.http.post("/v1/feedback", json=opinion, headers=headers)
    assert answer.status_code == 200
    _, logged = await door.logged()
    ((_, given),) = door.gateway.sink.feedback
    assert given.completion_id == logged.completion_id == "chatcmpl-1"


async def test_models_and_tokens(door: Served, client: Any) -> None:
    listed = [model async for model in client.models.list()]
    assert [model.id for model in listed] == ["assistant", "assistant-v0"]
    one = await client.models.retrieve("assistant-v0")
    assert (one.id, one.display_name, one.type) == ("assistant-v0", "assistant-v0", "model")
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("claude-x")
    counted = await client.messages.count_tokens(
        model="assistant",
        system="Be kind",
        messages=[{"role": "user", "content": "Hello you there"}],
    )
    assert counted.input_tokens == 5
    assert door.model.bodies[0]["model"] == "base"


async def test_what_has_no_effect_is_named(door: Served, client: Any) -> None:
    raw = await client.messages.with_raw_response.create(**hello(service_tier="auto"))
    assert raw.headers["x-trimtab-note"] == "left out, as it has no effect here: service_tier"
    assert "service_tier" not in door.model.bodies[0]


class Known:
    """Knows the same of everybody."""

    def of(self, tenant: str, user_id: str) -> str:
        return f"{user_id} of {tenant} likes short answers"


async def test_policies_and_personas_are_those_of_chats(tmp_path: Path) -> None:
    async with served(tmp_path, Known()) as door, client_of(door) as client:
        door.gateway.serve(Rollout(3, Version("support-v2", "support-base")), policy="support")
        raw = await client.messages.with_raw_response.create(
            **hello(model="support", system="Be kind", metadata={"user_id": "ada"})
        )
        message = await raw.parse()
        listed = [model.id async for model in client.models.list()]
        user, answer = await door.logged()
    assert (raw.headers["x-trimtab-policy"], message.model) == ("support", "support-v2")
    assert raw.headers["x-trimtab-persona"] == "used"
    (sent,) = door.model.bodies
    assert sent["model"] == "support-base"
    assert sent["messages"][0] == {
        "role": "system",
        "content": "Be kind\nWhat is known of the user: ada of local likes short answers",
    }
    assert (user.message.text, answer.policy) == ("Hello", "support")
    assert listed == ["assistant", "assistant-v0", "support", "support-v2"]
