"""OpenAI's official client at /v1/responses: what it gets, what the model server is asked, what is logged."""

from dataclasses import replace
from typing import Any

import openai
import pytest

from shared.language.messages import text_message
from tests.integration.doors.conftest import IMAGE, Served, called, keep_stored

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
ROME = called(("call-1", "weather", '{"city": "Rome"}'), ("call-2", "weather", '{"city": "Oslo"}'))


async def test_a_response_is_answered_and_logged(door: Served, openai_client: Any) -> None:
    door.model.script = [{"content": "Hi there"}]
    raw = await openai_client.responses.with_raw_response.create(
        model="assistant",
        instructions="Be kind",
        input="Hello",
        max_output_tokens=50,
        temperature=0.3,
        safety_identifier="ada",
        metadata={"shop": "7"},
        text={"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}},
        reasoning={"effort": "low"},
        extra_body={"min_p": 0.1},
    )
    response = raw.parse()
    assert response.output_text == "Hi there"
    assert (response.id, response.status) == ("resp_trimtab_chatcmpl-1", "completed")
    assert (response.model, response.created_at) == ("assistant-v0", 1_790_000_000)
    assert (response.usage.input_tokens, response.usage.total_tokens) == (11, 14)
    assert (response.instructions, response.metadata) == ("Be kind", {"shop": "7"})
    (item,) = response.output
    assert (item.type, item.role, item.status) == ("message", "assistant", "completed")
    (sent,) = door.model.bodies
    schema = {"name": "a", "schema": {"type": "object"}}
    assert sent == {
        "model": "base",
        "messages": [
            {"role": "system", "content": "Be kind"},
            {"role": "user", "content": "Hello"},
        ],
        "max_completion_tokens": 50,
        "temperature": 0.3,
        "safety_identifier": "ada",
        "metadata": {"shop": "7"},
        "response_format": {"type": "json_schema", "json_schema": schema},
        "reasoning_effort": "low",
        "min_p": 0.1,
        "store": True,
    }
    user, answer = await door.logged()
    assert (user.message.text, answer.message.text) == ("Hello", "Hi there")
    assert (user.user_id, user.metadata) == ("ada", {"shop": "7"})
    assert answer.conversation_id == raw.headers["x-trimtab-conversation"]
    assert door.gateway.measured == [("/v1/responses", 200, "assistant-v0")]


async def test_events_of_a_stream_lead_to_the_whole_response(
    door: Served, openai_client: Any
) -> None:
    door.model.script = [{"content": "Let me", "tool_calls": ROME, "finish": "tool_calls"}] * 2
    asked: dict[str, Any] = {"model": "assistant", "input": "Weather?", "tools": [WEATHER]}
    stream = await openai_client.responses.create(**asked, stream=True, user="ada")
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    shown = [event.type.removeprefix("response.") for event in events]
    once = [one for place, one in enumerate(shown) if place == 0 or one != shown[place - 1]]
    call = [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert once == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        *call,
        *call,
        "completed",
    ]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert done == events[-1].response.output
    whole = await openai_client.responses.create(**asked, user="ada")
    same = {"id": "", "output": []}
    streamed = events[-1].response
    assert streamed.model_dump() | same == whole.model_dump() | same
    assert [item.arguments for item in whole.output[1:]] == ['{"city": "Rome"}', '{"city": "Oslo"}']
    assert [item.call_id for item in streamed.output[1:]] == ["call-1", "call-2"]


async def test_sdk_helper_reads_the_stream(door: Served, openai_client: Any) -> None:
    door.model.script = [{"content": "Hi there"}]
    async with openai_client.responses.stream(model="assistant", input="Hello") as stream:
        response = await stream.get_final_response()
    assert response.output_text == "Hithere"  # the scripted server drops spaces


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_was_cut_off_is_incomplete(
    door: Served, openai_client: Any, stream: bool
) -> None:
    door.model.script = [{"content": "Hi", "finish": "length"}]
    asked: Any = {"model": "assistant", "input": "Hello", "stream": stream}
    response = await openai_client.responses.create(**asked)
    if stream:
        events = [event async for event in response]
        assert events[-1].type == "response.incomplete"
        response = events[-1].response
    assert response.status == response.output[0].status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("from_memory", [True, False])
async def test_a_conversation_goes_on_by_the_previous_responses_id(
    door: Served, openai_client: Any, from_memory: bool
) -> None:
    door.model.script = [
        {"content": "On it", "tool_calls": ROME, "finish": "tool_calls"},
        {"content": "Sunny"},
        {"content": "Bye"},
    ]
    asked: dict[str, Any] = {"model": "assistant", "tools": [WEATHER], "instructions": "Be kind"}
    developer = {"role": "developer", "content": "Metric units"}
    first = await openai_client.responses.create(
        **asked,
        input=[developer, {"role": "user", "content": "Weather?"}],
        user="ada",
    )
    if not from_memory:
        await keep_stored(door)
    results = [
        {"type": "function_call_output", "call_id": name, "output": text}
        for name, text in (("call-1", "22 C"), ("call-2", "3 C"))
    ]
    second = await openai_client.responses.create(
        **asked, input=results, previous_response_id=first.id
    )
    if not from_memory:
        await keep_stored(door)
    third = await openai_client.responses.create(
        **asked, input="Thanks", previous_response_id=second.id, stream=True
    )
    assert [event.type async for event in third][-1] == "response.completed"
    assert door.model.bodies[2]["messages"] == [
        {"role": "system", "content": "Be kind"},
        developer,
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "On it", "tool_calls": ROME},
        {"role": "tool", "tool_call_id": "call-1", "content": "22 C"},
        {"role": "tool", "tool_call_id": "call-2", "content": "3 C"},
        {"role": "assistant", "content": "Sunny"},
        {"role": "user", "content": "Thanks"},
    ]
    turns = {turn.turn_id: turn for turn in await door.logged()}
    assert {turn.conversation_id for turn in turns.values()} == {turns[min(turns)].conversation_id}
    assert {turn.user_id for turn in turns.values()} == {"ada"}
    assert [turns[name].index for name in sorted(turns)] == list(range(7))


async def test_what_has_no_effect_is_named(door: Served, openai_client: Any) -> None:
    raw = await openai_client.responses.with_raw_response.create(
        model="assistant",
        input="Hello",
        truncation="auto",
        service_tier="flex",
        include=["reasoning.encrypted_content"],
    )
    note = "left out, as it has no effect here: service_tier, include, truncation"
    assert raw.headers["x-trimtab-note"] == note
    assert raw.parse().truncation == "disabled"
    assert not {"truncation", "service_tier", "include"} & set(door.model.bodies[0])


async def test_instructions_are_those_of_one_call(door: Served, openai_client: Any) -> None:
    first = await openai_client.responses.create(
        model="assistant", input="Hello", instructions="Be kind"
    )
    await openai_client.responses.create(
        model="assistant", input="And?", instructions="Be brief", previous_response_id=first.id
    )
    said = [(one["role"], one["content"]) for one in door.model.bodies[1]["messages"]]
    assert said == [
        ("system", "Be brief"),
        ("user", "Hello"),
        ("assistant", "word word word "),
        ("user", "And?"),
    ]


async def test_a_history_that_was_redacted_goes_on_in_its_conversation(
    door: Served, openai_client: Any
) -> None:
    """Its words are no longer those by which calls are linked."""
    first = await openai_client.responses.create(model="assistant", input="I am Ada", user="u")
    await keep_stored(door)
    stored = door.gateway.completions
    stored.turns = [replace(stored.turns[0], message=text_message("user", "I am [NAME]"))]
    previous = first.id
    for said in ("Who am I?", "Sure?"):
        answer = await openai_client.responses.create(
            model="assistant", input=said, previous_response_id=previous
        )
        previous = answer.id
    assert door.model.bodies[2]["messages"][0] == {"role": "user", "content": "I am [NAME]"}
    turns = await door.logged()
    assert len({turn.conversation_id for turn in turns}) == 1
    last = turns[-1]
    assert (last.index, last.user_id, last.message.role) == (5, "u", "assistant")


async def test_the_turns_are_those_of_the_same_conversation_over_chat(
    door: Served, chat_door: Served, openai_client: Any
) -> None:
    """An application that sends its history, here with an image and what it was given as output."""
    script: list[Any] = [
        {"content": "A dot", "tool_calls": ROME, "finish": "tool_calls"},
        {"content": "Rain"},
    ]
    door.model.script, chat_door.model.script = list(script), list(script)
    asked: Any = {"model": "assistant", "user": "ada"}
    parts = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": IMAGE}]
    said: list[Any] = [{"role": "user", "content": parts}]
    first = await openai_client.responses.create(**asked, input=said)
    results = [
        {"type": "function_call_output", "call_id": name, "output": "wet"}
        for name in ("call-1", "call-2")
    ]
    said += [*(item.to_dict() for item in first.output), *results]
    stream = await openai_client.responses.create(**asked, input=said, stream=True)
    assert [event.type async for event in stream][-1] == "response.completed"

    chat_parts = [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": IMAGE}},
    ]
    messages: list[Any] = [{"role": "user", "content": chat_parts}]
    async with openai.AsyncOpenAI(api_key=chat_door.key, base_url=f"{chat_door.url}/v1") as chat:
        answer = await chat.chat.completions.create(**asked, messages=messages, store=True)
        tools = [
            {"role": "tool", "tool_call_id": name, "content": "wet"}
            for name in ("call-1", "call-2")
        ]
        messages += [answer.choices[0].message, *tools]
        chunks = await chat.chat.completions.create(
            **asked,
            messages=messages,
            store=True,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for _ in chunks:
            continue
    # What is stored of the requests is in each API's own words.
    own = "openai.request"
    turns = [
        [replace(turn, metadata={**turn.metadata, own: ""}) for turn in await one.plain()]
        for one in (door, chat_door)
    ]
    assert turns[0] == turns[1]
    assert len(turns[0]) == 5


async def test_items_can_be_named_instead_of_sent_again(door: Served, openai_client: Any) -> None:
    """As the Vercel AI SDK does with what it got."""
    door.model.script = [
        {"content": "On it", "tool_calls": ROME, "finish": "tool_calls"},
        {"content": "Ok"},
    ]
    first = await openai_client.responses.create(model="assistant", input="Weather?")
    named = [{"type": "item_reference", "id": item.id} for item in first.output]
    user = {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]}
    await openai_client.responses.create(model="assistant", input=[user, *named])
    assert door.model.bodies[1]["messages"] == [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "On it", "tool_calls": ROME},
    ]
    with pytest.raises(
        openai.BadRequestError, match="only items of this gateway's own answers"
    ) as other:
        reference = {"type": "item_reference", "id": "msg_68a1"}
        await openai_client.responses.create(model="assistant", input=[reference])
    assert other.value.param == "input[0].id"


async def test_a_stored_response_can_be_read(door: Served, openai_client: Any) -> None:
    made = await openai_client.responses.create(
        model="assistant", input="Hello", instructions="Be kind", tools=[WEATHER]
    )
    await keep_stored(door)
    read = await openai_client.responses.retrieve(made.id)
    assert (read.id, read.output_text) == (made.id, made.output_text)
    assert (read.output, read.usage, read.tools) == (made.output, made.usage, made.tools)
    assert (read.instructions, read.status, read.model) == ("Be kind", "completed", "assistant-v0")


async def test_feedback_on_the_responses_id_and_on_its_items_is_on_its_turn(
    door: Served, openai_client: Any
) -> None:
    response = await openai_client.responses.create(model="assistant", input="Hello")
    items = [
        {"completion_id": name, "value": True} for name in (response.id, response.output[0].id)
    ]
    answer = await door.http.post("/v1/feedback", json={"feedback": items})
    assert answer.json()["accepted"] == 2
    _, logged = await door.logged()
    assert [one.completion_id for _, one in door.gateway.sink.feedback] == [
        logged.completion_id
    ] * 2
