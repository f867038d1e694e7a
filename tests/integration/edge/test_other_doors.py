"""The doors of Anthropic's and OpenAI's clients, up to the store and over a restart of the gateway."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import openai
import pytest

from infra.local.stack import LocalStack
from tests.integration.edge.store import KEY, Interaction

pytestmark = pytest.mark.usefixtures("model_server")


@pytest.fixture
def clients(stack: LocalStack) -> tuple[Any, Any]:
    """Anthropic's and OpenAI's."""
    url = stack.env()["TRIMTAB_GATEWAY_URL"]
    anthropics = anthropic.DefaultAsyncHttpxClient(trust_env=False)
    openais = openai.DefaultAsyncHttpxClient(trust_env=False)
    return (
        anthropic.AsyncAnthropic(api_key=KEY, base_url=url, http_client=anthropics),
        openai.AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", http_client=openais),
    )


def said(turns: Any) -> list[tuple[int, str, str, str]]:
    return [
        (one.index, one.user_id, one.message.parts[0].text.text, one.model_version) for one in turns
    ]


async def test_a_conversation_is_stored_alike_at_three_doors(
    interaction: Interaction, clients: tuple[Any, Any]
) -> None:
    claude, chatgpt = clients
    asked: list[Any] = [{"role": "user", "content": "Hello"}]
    again = [
        *asked,
        {"role": "assistant", "content": "Re: Hello"},
        {"role": "user", "content": "Ok"},
    ]
    ids = []
    for messages in (asked, again):
        raw = await claude.messages.with_raw_response.create(
            model="assistant", max_tokens=9, messages=messages, metadata={"user_id": "auth0|ada"}
        )
    ids.append(raw.headers["x-trimtab-conversation"])
    for messages in (asked, again):
        raw = await chatgpt.responses.with_raw_response.create(
            model="assistant", input=messages, user="auth0|bob"
        )
    ids.append(raw.headers["x-trimtab-conversation"])
    for messages in (asked, again):
        raw = await chatgpt.chat.completions.with_raw_response.create(
            model="assistant", messages=messages, user="auth0|cyd"
        )
    ids.append(raw.headers["x-trimtab-conversation"])
    stored = [said(await interaction.stored(one, 4)) for one in ids]
    plain = [[(index, text, version) for index, _, text, version in turns] for turns in stored]
    assert plain[0] == plain[1] == plain[2]
    assert [text for _, text, _ in plain[0]] == ["Hello", "Re: Hello", "Ok", "Re: Ok"]
    assert len({turns[0][1] for turns in stored}) == 3


async def test_a_response_is_continued_after_the_gateway_was_killed(
    stack: LocalStack, interaction: Interaction, clients: tuple[Any, Any]
) -> None:
    _, chatgpt = clients
    first = await chatgpt.responses.with_raw_response.create(
        model="assistant", input="Hello", instructions="Be kind", user="dora"
    )
    conversation = first.headers["x-trimtab-conversation"]
    second = await chatgpt.responses.create(
        model="assistant",
        input="And?",
        instructions="Be kind",
        previous_response_id=first.parse().id,
    )
    await interaction.stored(conversation, 4)
    stack.kill("gateway")
    await asyncio.to_thread(stack.wait_ready, ["gateway"])
    third = await chatgpt.responses.with_raw_response.create(
        model="assistant", input="Thanks", instructions="Be kind", previous_response_id=second.id
    )
    assert third.headers["x-trimtab-conversation"] == conversation
    turns = said(await interaction.stored(conversation, 6))
    assert [(index, user, text) for index, user, text, _ in turns] == [
        (0, "dora", "Hello"),
        (1, "dora", "Re: Hello"),
        (2, "dora", "And?"),
        (3, "dora", "Re: And?"),
        (4, "dora", "Thanks"),
        (5, "dora", "Re: Thanks"),
    ]
    assert [version for *_, version in turns] == ["", "assistant-v0"] * 3
    read = await chatgpt.responses.retrieve(second.id)
    assert (read.output_text, read.instructions) == ("Re: And?", "Be kind")
