"""From the HTTP edge through Kafka to the store, undisturbed and with kills in the middle."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
from openai import AsyncOpenAI

from infra.local.stack import LocalStack
from shared.calls.client import translated
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.interaction.v1 import interaction_pb2 as pb
from shared.language.errors import TrimtabError
from tests.integration.edge.store import KEY, MINE, Interaction


def turn(conversation: str, index: int) -> common.Turn:
    role = common.ROLE_ASSISTANT if index % 2 else common.ROLE_USER
    text = common.TextPart(text=f"message {index}")
    message = common.Message(role=role, parts=[common.Part(text=text)])
    return common.Turn(
        conversation_id=conversation, index=index, user_id="ada", message=message, channel="grpc"
    )


async def retried(call: Callable[[], Any], within_s: float = 60.0) -> Any:
    """As a client does: the same call again until it is answered."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            with translated("interaction"):
                return await call()
        except TrimtabError as error:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(error.retry_after_s or 0.3)


async def test_logged_turns_can_be_read_once_kafka_brought_them(interaction: Interaction) -> None:
    turns = [turn("plain", 0), turn("plain", 1), turn("plain", -1)]
    request = pb.LogTurnsRequest(request_id="r-1", turns=turns)
    answer = await retried(lambda: interaction.stub.LogTurns(request, metadata=MINE))
    again = await retried(lambda: interaction.stub.LogTurns(request, metadata=MINE))
    assert answer == again
    assert [(r.position, r.reason) for r in answer.refusals] == [(2, "NEGATIVE_INDEX")]
    stored = await interaction.stored("plain", 2)
    assert [one.name for one in stored] == list(answer.names)
    listed = await interaction.stub.ListConversations(
        pb.ListConversationsRequest(filter='user_id = "ada"'), metadata=MINE
    )
    assert "plain" in [one.conversation_id for one in listed.conversations]


async def test_kill_9_in_the_middle_of_a_stream_loses_nothing_and_doubles_nothing(
    stack: LocalStack, interaction: Interaction
) -> None:
    """2,000 turns by a client that repeats unanswered calls; two kills on the way."""
    before = await interaction.counts()
    conversations, size = [f"killed-{n}" for n in range(10)], 200

    async def stream(conversation: str) -> None:
        async def chunks() -> AsyncIterator[pb.StreamTurnsRequest]:
            for start in range(0, size, 10):
                turns = [turn(conversation, index) for index in range(start, start + 10)]
                yield pb.StreamTurnsRequest(turns=turns)
                await asyncio.sleep(0.01)

        answer = await retried(lambda: interaction.stub.StreamTurns(chunks(), metadata=MINE))
        assert answer.accepted == size

    async def killer() -> None:
        for after_s in (0.12, 1.0):
            await asyncio.sleep(after_s)
            await asyncio.to_thread(stack.wait_ready, ["interaction"])
            stack.kill("interaction")

    streams = [asyncio.create_task(stream(conversation)) for conversation in conversations[:5]]
    killing = asyncio.create_task(killer())
    await asyncio.gather(*streams)
    await asyncio.gather(*[stream(conversation) for conversation in conversations[5:]])
    await killing
    await asyncio.to_thread(stack.wait_ready, ["interaction"])
    for conversation in conversations:
        stored = await interaction.stored(conversation, size, within_s=60)
        assert [one.index for one in stored] == list(range(size))
    after = await interaction.counts()
    assert after["made"] - before.get("made", 0) == 2_000
    assert after["taken"] == sum(count for outcome, count in after.items() if outcome != "taken")


async def test_a_chat_ends_in_the_store(
    stack: LocalStack, interaction: Interaction, model_server: None
) -> None:
    client = AsyncOpenAI(api_key=KEY, base_url=f"{stack.env()['TRIMTAB_GATEWAY_URL']}/v1")
    messages: list[Any] = [{"role": "user", "content": "Hello"}]
    chosen = {"x-trimtab-conversation": "chat-1"}
    for said in ("And?", "Thanks"):
        answer = await client.chat.completions.create(
            model="assistant", messages=messages, user="bob", extra_headers=chosen
        )
        text = answer.choices[0].message.content
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": said}]
    stored = await interaction.stored("chat-1", 4)
    texts = [one.message.parts[0].text.text for one in stored]
    assert texts == ["Hello", "Re: Hello", "And?", "Re: And?"]
    assert [one.model_version for one in stored] == ["", "assistant-v0"] * 2
    assert stored[3].completion_id == answer.id
    await client.close()


async def test_a_named_chat_without_its_history_goes_on_where_it_was_also_after_a_restart(
    stack: LocalStack, interaction: Interaction, model_server: None
) -> None:
    client = AsyncOpenAI(api_key=KEY, base_url=f"{stack.env()['TRIMTAB_GATEWAY_URL']}/v1")
    named: dict[str, Any] = {"extra_headers": {"x-trimtab-conversation": "cut-1"}}

    async def say(text: str) -> None:
        messages: list[Any] = [{"role": "user", "content": text}]
        await client.chat.completions.create(model="assistant", messages=messages, **named)

    await say("Explain rainbows")
    await say("No, too long, one sentence")
    await interaction.stored("cut-1", 4)  # by then the links are durable, too
    stack.kill("gateway")
    stack.wait_ready(["gateway"])
    await say("Continue.")
    await say("Continue.")
    stored = await interaction.stored("cut-1", 8)
    asked = ("Explain rainbows", "No, too long, one sentence", "Continue.", "Continue.")
    told = [(one.index, one.message.parts[0].text.text, one.model_version) for one in stored]
    assert told[::2] == [(2 * place, text, "") for place, text in enumerate(asked)]
    assert told[1::2] == [
        (2 * place + 1, f"Re: {text}", "assistant-v0") for place, text in enumerate(asked)
    ]
    assert {one.signal for one in stored} == {common.TURN_SIGNAL_UNSPECIFIED}
    await client.close()


async def test_the_chat_goes_on_while_interaction_is_away_and_nothing_is_lost(
    stack: LocalStack, interaction: Interaction, model_server: None
) -> None:
    url, headers = stack.env()["TRIMTAB_GATEWAY_URL"], {"authorization": f"Bearer {KEY}"}
    stopped = stack.pid("interaction")
    os.kill(stopped, signal.SIGSTOP)
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        slowest = 0.0
        for n in range(20):
            body = {"model": "assistant", "messages": [{"role": "user", "content": f"Hi {n}"}]}
            began = time.monotonic()
            answer = await http.post("/v1/chat/completions", json={**body, "user": f"u{n}"})
            slowest = max(slowest, time.monotonic() - began)
            assert answer.status_code == 200
        assert (await http.get("/v1/status")).json()["log"]["pending"] == 40
        stack.kill("gateway")
        os.kill(stopped, signal.SIGCONT)
        await asyncio.to_thread(stack.wait_ready, ["gateway"])
        deadline = time.monotonic() + 60
        while (log := (await http.get("/v1/status")).json()["log"])["pending"]:
            assert time.monotonic() < deadline, log
            await asyncio.sleep(0.2)
    assert slowest < 2.0
    # Kafka has them; a moment later the store has, too.
    asked = pb.ListConversationsRequest(filter='channel = "openai"', page_size=100)
    users: set[str] = set()
    while not {f"u{n}" for n in range(20)} <= users:
        assert time.monotonic() < deadline, users
        listed = await interaction.stub.ListConversations(asked, metadata=MINE)
        users = {one.user_id for one in listed.conversations if one.turn_count == 2}
        await asyncio.sleep(0.1)


async def test_a_batch_over_rest_is_durable_and_repeats_count_once(
    stack: LocalStack, interaction: Interaction
) -> None:
    url, headers = stack.env()["TRIMTAB_GATEWAY_URL"], {"authorization": f"Bearer {KEY}"}
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    items = [{"id": f"rest-{n}", "user": f"u{n}", "messages": messages} for n in range(50)]
    batch = {"conversations": [*items, {"id": "rest-x", "messages": messages}]}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        for _ in range(2):
            answer = await http.post("/v1/conversations", json=batch)
            assert answer.status_code == 207
            assert answer.json()["accepted"] == 50
        given = {"conversation_id": "rest-1", "user": "u1", "value": 2, "min": 1, "max": 5}
        answer = await http.post("/v1/feedback", json=given)
        assert answer.status_code == 200
    for n in range(50):
        assert len(await interaction.stored(f"rest-{n}", 2)) == 2
