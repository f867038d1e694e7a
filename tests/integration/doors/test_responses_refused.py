"""What /v1/responses refuses, and answers that do not come to their end."""

import asyncio
from typing import Any

import openai
import pytest

from services.gateway.domain.rollout import Rollout, Version
from tests.integration.doors.conftest import IMAGE, Served, keep_stored


async def test_a_response_that_is_not_known(door: Served, openai_client: Any) -> None:
    for unknown in ("resp_68a1", "resp_trimtab_chatcmpl-77"):
        with pytest.raises(openai.BadRequestError) as refused:
            await openai_client.responses.create(
                model="assistant", input="And?", previous_response_id=unknown
            )
        assert refused.value.code == "previous_response_not_found"
        assert refused.value.param == "previous_response_id"
        with pytest.raises(openai.NotFoundError):
            await openai_client.responses.retrieve(unknown)
    unstored = await openai_client.responses.create(model="assistant", input="Hello", store=False)
    with pytest.raises(openai.BadRequestError):
        await openai_client.responses.create(
            model="assistant", input="And?", previous_response_id=unstored.id
        )
    assert await door.logged() == []


async def test_an_inline_image_of_long_ago_is_not_kept(door: Served, openai_client: Any) -> None:
    parts = [{"type": "input_image", "image_url": IMAGE}]
    first = await openai_client.responses.create(
        model="assistant", input=[{"role": "user", "content": parts}]
    )
    await openai_client.responses.create(
        model="assistant", input="And?", previous_response_id=first.id, store=False
    )
    await keep_stored(door)
    with pytest.raises(openai.BadRequestError) as refused:
        await openai_client.responses.create(
            model="assistant", input="And?", previous_response_id=first.id
        )
    assert refused.value.code == "media_not_kept"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice.type"),
        ({"input": []}, "input"),
        ({"input": [{"type": "computer_call"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
         "input[0].content[0].file_data"),
    ],
)  # fmt: skip
async def test_what_is_not_supported_is_named(
    door: Served, openai_client: Any, more: dict[str, Any], field: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await openai_client.responses.create(**{"model": "assistant", "input": "Hello", **more})
    assert refused.value.param == field
    assert door.model.bodies == []


async def test_errors_of_the_model_server_come_as_they_are(
    door: Served, openai_client: Any
) -> None:
    door.gateway.serve(Rollout(1, Version("assistant-v1", "busy")))
    with pytest.raises(openai.RateLimitError) as busy:
        await openai_client.responses.create(model="assistant", input="Hello")
    assert busy.value.response.text == "slow down"
    assert busy.value.response.headers["content-type"].startswith("text/plain")


async def test_a_model_server_that_breaks_off_is_a_failed_response(
    door: Served, openai_client: Any
) -> None:
    door.model.break_after = 2
    stream = await openai_client.responses.create(model="assistant", input="Hello", stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "response.failed"
    assert "broke off" in events[-1].response.error.message
    _, logged = await door.logged()
    assert logged.message.text == "word word "
    assert logged.metadata["aborted_by"] == "upstream"


async def test_a_client_that_stops_in_mid_stream_is_logged_as_far_as_it_came(
    door: Served, openai_client: Any
) -> None:
    door.model.go_on.clear()
    stream = await openai_client.responses.create(model="assistant", input="Hello", stream=True)
    async for event in stream:
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    async with asyncio.timeout(5):
        while len(door.gateway.sink.turns) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    _, logged = door.gateway.sink.turns
    assert logged.message.text == "word "
    assert logged.metadata["aborted_by"] == "client"
