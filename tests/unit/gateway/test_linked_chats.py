"""Chats through the door find their conversations: with the official client, one gateway or two."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from services.gateway.adapters.link_table import TABLES
from services.gateway.domain.linking import Call, question_of
from shared.state.database import Database
from tests.unit.gateway.test_linking import HI, running


async def say(gateway: Any, *texts: str, **options: Any) -> Any:
    """Users' and answers' texts in turn; gives the raw response."""
    messages = [
        {"role": "assistant" if place % 2 else "user", "content": text}
        for place, text in enumerate(texts)
    ]
    return await gateway.openai.chat.completions.with_raw_response.create(
        model="assistant", messages=messages, **options
    )


def conversation(raw: Any) -> str:
    return str(raw.headers["x-trimtab-conversation"])


async def test_two_who_do_not_say_who_they_are_and_begin_alike_are_two(gateway: Any) -> None:
    first, second = await say(gateway, "hi"), await say(gateway, "hi")
    assert conversation(first) != conversation(second)
    on = [await say(gateway, "hi", "word word word", text) for text in ("a joke", "a poem")]
    assert {conversation(raw) for raw in on} == {conversation(first), conversation(second)}
    turns = await gateway.logged()
    assert {turn.signal for turn in turns} == {""}
    assert len({turn.user_id for turn in turns}) == 2
    assert sorted(turn.index for turn in turns) == [0, 0, 1, 1, 2, 2, 3, 3]


async def test_users_who_are_named_are_kept_apart(gateway: Any) -> None:
    first = await say(gateway, "hi", user="ada")
    second = await say(gateway, "hi", user="bob")
    third = await say(gateway, "hi", "word word word", "more", user="bob")
    assert conversation(first) != conversation(second) == conversation(third)


async def test_a_regenerated_answer_stands_beside_the_first(gateway: Any) -> None:
    first = await say(gateway, "hi", user="ada")
    gateway.model.text = "other "
    again = await say(gateway, "hi", user="ada")
    assert conversation(first) == conversation(again)
    on = await say(gateway, "hi", "other other other", "more", user="ada")
    assert conversation(on) == conversation(first)
    turns = await gateway.logged()
    assert [(turn.index, turn.message.text.strip(), turn.signal) for turn in turns] == [
        (0, "hi", ""),
        (1, "word word word", ""),
        (1, "other other other", "regeneration"),
        (2, "more", ""),
        (3, "other other other", ""),
    ]
    assert turns[2].replaces_turn_id == turns[1].turn_id
    assert turns[2].turn_id != turns[1].turn_id


async def test_a_regeneration_that_says_the_same_can_be_told_apart(gateway: Any) -> None:
    await say(gateway, "hi", user="ada")
    await say(gateway, "hi", user="ada")
    _, first, again = await gateway.logged()
    assert first.message == again.message
    assert first.turn_id != again.turn_id
    assert first.completion_id != again.completion_id


async def test_an_edited_question_stands_beside_the_first(gateway: Any) -> None:
    first = await say(gateway, "hi", user="ada")
    await say(gateway, "hi", "word word word", "a joke", user="ada")
    edited = await say(gateway, "hi", "word word word", "a poem", user="ada")
    assert conversation(edited) == conversation(first)
    turns = await gateway.logged()
    assert [(turn.index, turn.message.text.strip(), turn.signal) for turn in turns[2:]] == [
        (2, "a joke", ""),
        (3, "word word word", ""),
        (2, "a poem", "edit"),
        (3, "word word word", ""),
    ]
    assert turns[4].replaces_turn_id == turns[2].turn_id


async def test_a_named_conversation_wins_and_knows_regenerations(gateway: Any) -> None:
    named: dict[str, Any] = {"extra_headers": {"x-trimtab-conversation": "c-1"}}
    await say(gateway, "hi", user="ada")
    assert conversation(await say(gateway, "hi", user="ada", **named)) == "c-1"
    gateway.model.text = "other "
    by_metadata: dict[str, Any] = {"metadata": {"conversation_id": "c-1"}}
    assert conversation(await say(gateway, "hi", user="ada", **by_metadata)) == "c-1"
    turns = [turn for turn in await gateway.logged() if turn.conversation_id == "c-1"]
    assert [(turn.index, turn.signal) for turn in turns] == [
        (0, ""),
        (1, ""),
        (1, "regeneration"),
    ]


async def test_a_named_conversation_goes_on_where_it_was_without_its_history(gateway: Any) -> None:
    named: dict[str, Any] = {"extra_headers": {"x-trimtab-conversation": "c-1"}}
    for said in ("Explain rainbows", "No, too long", "Continue.", "Continue."):
        assert conversation(await say(gateway, said, **named)) == "c-1"
    turns = await gateway.logged()
    assert [(turn.index, turn.message.text.strip(), turn.signal) for turn in turns[::2]] == [
        (0, "Explain rainbows", ""),
        (2, "No, too long", ""),
        (4, "Continue.", ""),
        (6, "Continue.", ""),
    ]
    assert [(turn.index, turn.model_version) for turn in turns[1::2]] == [
        (place, "assistant-v0") for place in (1, 3, 5, 7)
    ]


async def test_calls_at_the_same_moment_have_places_of_their_own(gateway: Any) -> None:
    """And a title's call, under other system messages, has none in the chat."""
    named: dict[str, Any] = {"extra_headers": {"x-trimtab-conversation": "c-1"}}

    async def title() -> Any:
        said = [{"role": "system", "content": "Write a title."}, {"role": "user", "content": "one"}]
        return await gateway.openai.chat.completions.with_raw_response.create(
            model="assistant", messages=said, **named
        )

    calls = [say(gateway, "one", **named), say(gateway, "two", **named), title()]
    one, two, other = await asyncio.gather(*calls)
    assert conversation(one) == conversation(two) == "c-1" != conversation(other)
    await say(gateway, "three", **named)
    turns = [turn for turn in await gateway.logged() if turn.conversation_id == "c-1"]
    assert sorted((turn.index, turn.message.text) for turn in turns if not turn.index % 2) == [
        *((0, "one"), (2, "two"), (4, "three")),
    ]


async def test_a_request_that_comes_twice_at_the_same_moment_has_one_place(
    gateway: Any, eventually: Any
) -> None:
    """None of them is answered before all have come: afterwards it would be a regeneration."""
    named: dict[str, Any] = {"extra_headers": {"x-trimtab-conversation": "c-1"}}
    gateway.model.go_on.clear()
    calls = asyncio.gather(*[say(gateway, "one", **named) for _ in range(3)])
    await eventually(lambda: len(gateway.model.bodies) == 3)
    gateway.model.go_on.set()
    await calls
    assert {(turn.index, turn.signal) for turn in await gateway.logged()} == {(0, ""), (1, "")}


async def test_a_call_that_failed_takes_no_place(gateway: Any) -> None:
    named: dict[str, Any] = {"extra_headers": {"x-trimtab-conversation": "c-1"}}
    await gateway.model.stop()
    for _ in range(2):
        with pytest.raises(openai.APIStatusError):
            await say(gateway, "one", **named)
    assert len(gateway.linker._open) == 0


async def test_a_request_that_is_sent_again_is_no_signal(gateway: Any) -> None:
    again: dict[str, Any] = {"extra_headers": {"x-request-id": "r-1"}}
    first = await say(gateway, "hi", user="ada", **again)
    assert conversation(await say(gateway, "hi", user="ada", **again)) == conversation(first)
    other: dict[str, Any] = {"extra_headers": {"x-request-id": "r-2"}}
    await say(gateway, "hi", user="ada", **other)
    signals = [turn.signal for turn in await gateway.logged() if turn.role == "assistant"]
    assert signals == ["", "", "regeneration"]


async def test_a_title_is_told_apart_by_its_system_message(gateway: Any) -> None:
    async def ask(system: str, *texts: str) -> Any:
        roles = ("user", "assistant", "user")
        said = [{"role": role, "content": one} for role, one in zip(roles, texts, strict=False)]
        messages = [{"role": "system", "content": system}, *said]
        return await gateway.openai.chat.completions.with_raw_response.create(
            model="assistant", messages=messages, user="ada"
        )

    chat = await ask("Be kind. It is 12:01.", "hi")
    title = await ask("Write a title.", "hi")
    on = await ask("Be kind. It is 12:02.", "hi", "word word word", "more")
    assert conversation(title) != conversation(chat) == conversation(on)
    assert {turn.signal for turn in await gateway.logged()} == {""}


async def test_a_client_librarys_repeat_is_no_signal(gateway: Any) -> None:
    await say(gateway, "hi", user="ada")
    repeat: dict[str, Any] = {"extra_headers": {"x-stainless-retry-count": "1"}}
    await say(gateway, "hi", user="ada", **repeat)
    turns = await gateway.logged()
    assert len({turn.conversation_id for turn in turns}) == 1
    assert {turn.signal for turn in turns} == {""}


async def test_another_gateway_goes_on_with_the_conversation(
    start_gateway: Callable[..., Any], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/links.db"
    with running(Database(url, TABLES)) as links:
        async with start_gateway(tmp_path / "a", links=links) as one:
            first = conversation(await say(one, "hi"))
    with running(Database(url, TABLES)) as links:
        async with start_gateway(tmp_path / "b", links=links) as other:
            assert conversation(await say(other, "hi", "word word word", "more")) == first
            assert [turn.index for turn in await other.logged()] == [2, 3]


async def test_gateways_take_turns_in_a_named_conversation_without_its_history(
    start_gateway: Callable[..., Any], tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    url = f"sqlite:///{tmp_path}/links.db"
    named: dict[str, Any] = {"extra_headers": {"x-trimtab-conversation": "c-1"}}
    with running(Database(url, TABLES)) as ours, running(Database(url, TABLES)) as theirs:
        async with (
            start_gateway(tmp_path / "a", links=ours) as one,
            start_gateway(tmp_path / "b", links=theirs) as other,
        ):
            for number, gateway in enumerate([one, other, other, one]):
                await say(gateway, f"message {number}", **named)
                links = theirs if gateway is one else ours
                asked = question_of(b"secret", Call("local", "", "c-1", (HI,)))
                async with asyncio.timeout(10):
                    while len(await links.find(asked)) <= number:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
            turns = [*await one.logged(), *await other.logged()]
    assert sorted(turn.index for turn in turns) == list(range(8))


async def test_what_had_to_be_dropped_is_told_again(gateway: Any) -> None:
    """An exchange that is not in the log must not be taken for known."""
    gateway.spool._max_bytes = 10
    await say(gateway, "hi", user="ada")
    gateway.spool._max_bytes = 10**9
    await say(gateway, "hi", "word word word", "more", user="ada")
    assert [turn.index for turn in await gateway.logged()] == [0, 1, 2, 3]
