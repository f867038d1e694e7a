"""The OpenAI-compatible door, by the official client: what is said there ends in the store.

Real Kafka, interaction and gateway; a scripted model server. Each test reads its turns back from
interaction's API.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from infra.local.stack import LocalStack
from shared.gen.trimtab.common.v1 import common_pb2 as common
from tests.e2e.chat_server import REFUSAL, USAGE, ChatServer, serving
from tests.e2e.store import Store

KEY, TENANT = "local-dev-key", "local"
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
    }
]


class Door:
    """The client, the model server behind the gateway, and the store."""

    def __init__(self, stack: LocalStack, model: ChatServer) -> None:
        url = stack.env()["TRIMTAB_GATEWAY_URL"]
        self.openai = AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0)
        self.model, self.url = model, url
        self.store = Store(stack.env()["TRIMTAB_INTERACTION_ADDRESS"], TENANT)
        # Of the last answer.
        self.conversation = ""

    async def say(self, messages: list[Any], **options: Any) -> Any:
        raw = await self.openai.chat.completions.with_raw_response.create(
            model="assistant", messages=messages, **options
        )
        self.conversation = raw.headers["x-trimtab-conversation"]
        return raw.parse()

    async def stored(self, turns: int, within_s: float = 20.0) -> list[common.Turn]:
        """The turns of the last conversation: so many, and no more."""
        found = await asyncio.to_thread(self.store.turns, self.conversation, turns, within_s)
        assert len(found) == turns
        return found


@pytest.fixture
async def door(doors_stack: LocalStack) -> AsyncIterator[Door]:
    async with serving(doors_stack.settings.vllm.port) as model:
        made = Door(doors_stack, model)
        yield made
        await made.openai.close()
        made.store.close()


def user(text: Any) -> Any:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def text_of(turn: common.Turn) -> str:
    return "\n".join(part.text.text for part in turn.message.parts if part.HasField("text"))


async def test_an_answer(door: Door) -> None:
    answer = await door.say(
        [{"role": "system", "content": "Be kind"}, user("hello")],
        user="ada",
        stop=["\n"],
        temperature=0.5,
        extra_body={"min_p": 0.1},
    )
    assert answer.model == "assistant-v0"
    assert answer.usage.total_tokens == USAGE["total_tokens"]
    sent = door.model.bodies[-1]
    assert (sent["stop"], sent["temperature"], sent["min_p"]) == (["\n"], 0.5, 0.1)
    asked, said = await door.stored(2)
    assert (asked.index, asked.user_id, text_of(asked)) == (0, "ada", "hello")
    assert (said.index, text_of(said)) == (1, answer.choices[0].message.content)
    assert (said.completion_id, said.model_version) == (answer.id, "assistant-v0")
    assert said.metadata["finish_reason"] == "stop"


async def test_a_stream_with_its_usage(door: Door) -> None:
    async with door.openai.chat.completions.with_streaming_response.create(
        model="assistant",
        messages=[user("hello")],
        user="bob",
        stream=True,
        stream_options={"include_usage": True},
    ) as raw:
        door.conversation = raw.headers["x-trimtab-conversation"]
        chunks = [chunk async for chunk in await raw.parse()]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == USAGE["total_tokens"]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    _, said = await door.stored(2)
    assert text_of(said) == text
    assert said.completion_id == chunks[0].id


async def test_tools_and_what_they_gave(door: Door) -> None:
    messages: list[Any] = [user("call a tool")]
    first = await door.say(messages, user="cy", tools=TOOLS)
    assert first.choices[0].message.tool_calls[0].function.name == "add"
    assert door.model.bodies[-1]["tools"] == TOOLS
    messages += [
        first.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": "call-1", "content": "4"},
    ]
    await door.say(messages, user="cy", tools=TOOLS)
    _, call, result, _ = await door.stored(4)
    part = call.message.parts[0].tool_call
    assert (part.call_id, part.function, part.arguments) == ("call-1", "add", '{"a": 2, "b": 2}')
    assert result.message.role == common.ROLE_TOOL
    assert result.message.parts[0].tool_result.result == "4"


async def test_two_choices_both_come_and_are_siblings(door: Door) -> None:
    answer = await door.say([user("twice")], user="dee", n=2)
    texts = [choice.message.content for choice in answer.choices]
    assert len(set(texts)) == 2
    _, *said = await door.stored(3)
    by_choice = {turn.metadata["choice"]: turn for turn in said}
    assert [text_of(by_choice[number]) for number in ("", "1")] == texts
    assert {turn.index for turn in said} == {1}
    assert by_choice[""].completion_id == answer.id
    assert by_choice["1"].metadata["choice_of"] == answer.id
    # Going on from the second one stays in the conversation.
    conversation = door.conversation
    await door.say([user("twice"), assistant(texts[1]), user("more")], user="dee")
    assert door.conversation == conversation
    assert len(await door.stored(5)) == 5


async def test_an_image_goes_through_and_is_logged_by_reference(door: Door) -> None:
    inline = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
    linked = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    content = [{"type": "text", "text": "what is this?"}, inline, linked]
    await door.say([user(content)], user="eve")
    assert door.model.bodies[-1]["messages"][0]["content"] == content
    asked, _ = await door.stored(2)
    uris = [part.media.uri for part in asked.message.parts if part.HasField("media")]
    assert uris[0].startswith("sha256:")
    assert uris[1] == "https://example.org/cat.png"
    assert b"aGVsbG8=" not in asked.SerializeToString()


async def test_a_stream_that_the_client_leaves_is_logged_as_far_as_it_went(door: Door) -> None:
    async with door.openai.chat.completions.with_streaming_response.create(
        model="assistant", messages=[user("be slow")], user="flo", stream=True
    ) as raw:
        door.conversation = raw.headers["x-trimtab-conversation"]
        stream: Any = await raw.parse()
        async for _ in stream:
            break
    await asyncio.wait_for(door.model.cut_off.wait(), 10)
    _, said = await door.stored(2)
    assert text_of(said).startswith("slow")
    assert said.metadata["aborted_by"] == "client"


async def test_an_error_of_the_model_server_comes_as_it_was(door: Door) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        await door.say([user("refuse")], user="gus")
    assert caught.value.response.json() == REFUSAL
    assert caught.value.response.headers["retry-after"] == "9"
    # It left no conversation: the next one is the user's first.
    await door.say([user("hello")], user="gus")
    assert len(await door.stored(2)) == 2


async def test_a_regeneration_and_an_edit_are_known_as_such(door: Door) -> None:
    first = (await door.say([user("a poem")], user="hal")).choices[0].message.content
    again = (await door.say([user("a poem")], user="hal")).choices[0].message.content
    assert first != again
    history = [user("a poem"), assistant(again)]
    await door.say([*history, user("shorter")], user="hal")
    await door.say([*history, user("longer")], user="hal")
    turns = await door.stored(7)
    by_text = {text_of(turn): turn for turn in turns}
    made_anew, edited = by_text[again], by_text["longer"]
    assert made_anew.signal == common.TURN_SIGNAL_REGENERATION
    assert made_anew.replaces_turn_id == by_text[first].turn_id
    assert edited.signal == common.TURN_SIGNAL_EDIT
    assert edited.replaces_turn_id == by_text["shorter"].turn_id
    assert [turn.index for turn in turns] == [0, 1, 1, 2, 2, 3, 3]
    unmarked = [turn for turn in turns if turn not in (made_anew, edited)]
    assert {turn.signal for turn in unmarked} == {common.TURN_SIGNAL_UNSPECIFIED}


async def test_two_nobodies_who_begin_alike_are_two(door: Door) -> None:
    await door.say([user("hi")])
    one = door.conversation
    await door.say([user("hi")])
    assert door.conversation != one
    assert len(await door.stored(2)) == 2


async def test_what_says_store_false_is_not_logged_but_counted(door: Door) -> None:
    await door.say([user("a secret of mine")], user="ida", store=False)
    hidden = door.conversation
    await door.say([user("hello")], user="ida")
    await door.stored(2)
    door.conversation = hidden
    with pytest.raises(AssertionError, match="0 of 1"):
        await door.stored(1, within_s=0.5)
    async with httpx.AsyncClient(trust_env=False) as http:
        log = (await http.get(f"{door.url}/v1/status")).json()["log"]
    assert log["left_out"] == {"STORE_FALSE": 1}


async def test_what_says_store_true_can_be_had_again(door: Door) -> None:
    options: dict[str, Any] = {"user": "joe", "store": True, "temperature": 0.5}
    answers = [
        await door.say([user(text)], metadata={"page": page}, **options)
        for text, page in (("one", "a"), ("two", "b"), ("three", "a"))
    ]
    await door.stored(2)
    completions = door.openai.chat.completions
    kept = await completions.retrieve(answers[0].id)
    assert kept.choices[0].message.content == answers[0].choices[0].message.content
    assert (kept.model, kept.choices[0].finish_reason) == ("assistant-v0", "stop")
    assert kept.usage is not None
    assert kept.usage.total_tokens == USAGE["total_tokens"]
    listed = await completions.list(metadata={"page": "a"}, limit=1, order="desc")
    assert [one.id for one in listed.data] == [answers[2].id]
    more = await listed.get_next_page()
    assert [one.id for one in more.data] == [answers[0].id]
    messages = await completions.messages.list(answers[1].id)
    assert [one.content for one in messages.data] == ["two"]
    changed = await completions.update(answers[1].id, metadata={"page": "a"})
    assert changed.model_dump()["metadata"] == {"page": "a"}
    again = [one async for one in completions.list(metadata={"page": "a"})]
    assert [one.id for one in again] == [answer.id for answer in answers]
    with pytest.raises(openai.NotFoundError):
        await completions.retrieve("chatcmpl-unknown")


async def test_a_restart_knows_the_conversation(doors_stack: LocalStack, door: Door) -> None:
    said = (await door.say([user("hello there")])).choices[0].message.content
    conversation = door.conversation
    await door.stored(2)
    await _linked(
        doors_stack, conversation
    )  # a kill before that loses the links of the last instant
    doors_stack.kill("gateway")
    await asyncio.to_thread(doors_stack.wait_ready, ["gateway"])
    await door.say([user("hello there"), assistant(said), user("more")])
    assert door.conversation == conversation
    assert [turn.index for turn in await door.stored(4)] == [0, 1, 2, 3]


async def _linked(stack: LocalStack, conversation: str, within_s: float = 20.0) -> None:
    """Once the gateway's own database knows the conversation."""
    file = stack.env()["TRIMTAB_GATEWAY_DATABASE_URL"].removeprefix("sqlite:///")
    query = "SELECT count(*) FROM links WHERE conversation_id = ?"
    deadline = time.monotonic() + within_s
    while True:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as reader:
            if reader.execute(query, (conversation,)).fetchone()[0]:
                return
        assert time.monotonic() < deadline, f"no link of {conversation}"
        await asyncio.sleep(0.05)
