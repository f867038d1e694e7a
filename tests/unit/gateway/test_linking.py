"""Conversations from stateless calls: continued, regenerated, edited, kept apart."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
import sqlalchemy as sa

from services.gateway.adapters.link_table import TABLES
from services.gateway.adapters.links import SqlLinks
from services.gateway.adapters.memory import LinkMemory
from services.gateway.adapters.secrets import link_secret
from services.gateway.domain.linking import Call, Link, Question, chain_on, question_of
from services.gateway.domain.placing import EDIT, REGENERATION, position_of
from shared.language.errors import Unavailable
from shared.language.messages import Message, text_message
from shared.state.database import Database, Transaction

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HI = text_message("user", "hi")
HELLO = text_message("assistant", "Hello!")


def asked(*messages: Message, user: str = "") -> Question:
    return question_of(b"key", Call("local", user, "", messages))


def answered(
    question: Question, answer: Message, name: str, conversation: str, minute: int = 0
) -> Link:
    return Link(
        tenant="local",
        history=question.history,
        answered=chain_on(b"key", question.history, answer),
        parent=question.parent,
        conversation_id=conversation,
        thread=question.thread if question.known else "",
        place=question.count,
        carried=question.count,
        asked_turn_id=f"asked-{name}",
        answer_turn_id=f"answer-{name}",
        made=NOW + timedelta(minutes=minute),
    )


def test_the_chain_is_keyed_by_tenant_user_role_and_content() -> None:
    base = asked(HI).history
    others = [
        question_of(b"other", Call("local", "", "", (HI,))),
        question_of(b"key", Call("tenant-b", "", "", (HI,))),
        asked(HI, user="ada"),
        question_of(b"key", Call("local", "", "ada", (HI,))),
        asked(text_message("assistant", "hi")),
        asked(text_message("user", "hi!")),
    ]
    assert len({base, *(one.history for one in others)}) == 7
    assert asked(text_message("user", "hi \n")).history == base
    longer = asked(HI, HELLO, HI)
    assert longer.chain[1] == base
    assert longer.chain[2] == chain_on(b"key", base, HELLO) == longer.parent


def test_a_follow_up_goes_on_and_another_one_is_an_edit() -> None:
    first = answered(asked(HI, user="ada"), HELLO, "1", "c")
    joke = asked(HI, HELLO, text_message("user", "a joke"), user="ada")
    assert position_of(joke, [first], NOW).conversation_id == "c"
    assert (position_of(joke, [first], NOW).told, position_of(joke, [first], NOW).signal) == (2, "")
    second = answered(joke, text_message("assistant", "ha"), "2", "c", 1)
    poem = asked(HI, HELLO, text_message("user", "a poem"), user="ada")
    place = position_of(poem, [first, second], NOW)
    assert (place.conversation_id, place.told) == ("c", 2)
    assert (place.signal, place.replaces_turn_id) == (EDIT, "asked-2")


def test_the_same_history_again_is_a_regeneration() -> None:
    first = answered(asked(HI, user="ada"), HELLO, "1", "c")
    joke = asked(HI, HELLO, text_message("user", "a joke"), user="ada")
    second = answered(joke, text_message("assistant", "ha"), "2", "c", 1)
    place = position_of(joke, [first, second], NOW)
    assert (place.conversation_id, place.told) == ("c", 3)
    assert (place.signal, place.replaces_turn_id) == (REGENERATION, "answer-2")
    assert place.asked_turn_id == "asked-2"


@pytest.mark.parametrize(("minutes", "signal"), [(1, REGENERATION), (3, "")])
def test_a_known_users_first_message_again_is_a_regeneration_for_a_while(
    minutes: int, signal: str
) -> None:
    question = asked(HI, user="ada")
    first = answered(question, HELLO, "1", "c")
    assert position_of(question, [first], NOW + timedelta(minutes=minutes)).signal == signal


def test_a_first_message_again_after_the_conversation_went_on_begins_a_new_one() -> None:
    question = asked(HI, user="ada")
    first = answered(question, HELLO, "1", "c")
    joke = asked(HI, HELLO, text_message("user", "a joke"), user="ada")
    second = answered(joke, text_message("assistant", "ha"), "2", "c", 1)
    assert position_of(question, [first, second], NOW + timedelta(minutes=2)).conversation_id == ""


def test_nobody_takes_what_another_nobody_goes_on_with() -> None:
    """Both began with hi and were answered alike; the first one has gone on."""
    assert not asked(HI).may_be_linked
    links = [answered(asked(HI), HELLO, name, f"c-{name}") for name in "ab"]
    joke = asked(HI, HELLO, text_message("user", "a joke"))
    went_on = answered(joke, text_message("assistant", "ha"), "b2", "c-b", 1)
    for said in ("a joke", "a poem"):
        again = asked(HI, HELLO, text_message("user", said))
        place = position_of(again, [*links, went_on], NOW)
        assert (place.conversation_id, place.signal) == ("c-a", ""), said


def test_a_tools_answer_goes_on_and_is_no_edit() -> None:
    call = text_message("assistant", "calls")
    first = answered(asked(HI, user="ada"), call, "1", "c")
    results = [text_message("tool", text) for text in ("4", "5")]
    one = answered(asked(HI, call, results[0], user="ada"), HELLO, "2", "c", 1)
    place = position_of(asked(HI, call, results[1], user="ada"), [first, one], NOW)
    assert (place.conversation_id, place.told, place.signal) == ("c", 2, "")


# -- links in memory and in SQL ----------------------------------------------------------


@contextmanager
def running(database: Database, **options: Any) -> Iterator[SqlLinks]:
    links, stop = SqlLinks(database, clock=lambda: NOW, **options), threading.Event()
    thread = threading.Thread(target=links.run, args=(stop,))
    thread.start()
    try:
        yield links
    finally:
        stop.set()
        links._wake.set()
        thread.join()


async def test_memory_forgets_the_oldest() -> None:
    memory = LinkMemory(most=2)
    questions = [asked(HI, user=user) for user in ("ada", "bob", "cy")]
    for place, question in enumerate(questions):
        memory.remember(answered(question, HELLO, str(place), f"c-{place}", place))
    assert [len(memory.found(question)) for question in questions] == [0, 1, 1]


async def test_another_process_finds_them_and_a_stop_loses_none(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/links.db"
    question = asked(HI, user="ada")
    joke = asked(HI, HELLO, text_message("user", "a joke"), user="ada")
    first = answered(question, HELLO, "1", "c")
    second = answered(joke, text_message("assistant", "ha"), "2", "c", 1)
    with running(Database(url, TABLES)) as one, running(Database(url, TABLES)) as other:
        one.remember(first)
        async with asyncio.timeout(10):
            while await other.find(question) != [first]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        one.remember(second)
    with running(Database(url, TABLES)) as later:
        assert await later.find(joke) == [first, second]


class Flaky(Database):
    """Away while it says so."""

    is_away, refused = False, 0

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        self._check()
        with super().begin() as transaction:
            yield transaction

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        self._check()
        with super().read() as connection:
            yield connection

    def _check(self) -> None:
        if self.is_away:
            self.refused += 1
            raise Unavailable(
                "the database is unavailable", reason="DATABASE_AWAY", retry_after_s=0.1
            )


async def test_a_database_that_is_away_costs_time_and_neither_chats_nor_links(
    tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    database = Flaky(f"sqlite:///{tmp_path}/links.db", TABLES)
    question = asked(HI, user="ada")
    link = answered(question, HELLO, "1", "c")
    with running(database) as sql:
        database.is_away = True
        assert await sql.find(question) == []
        sql.remember(link)
        assert await sql.find(question) == [link]
        refused = database.refused
        await eventually(lambda: database.refused > refused + 1)  # it tries again
        database.is_away = False
    with running(database) as later:
        assert await later.find(question) == [link]


def test_the_secret_is_made_once_and_readable_to_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "gateway" / "link.secret"
    made = link_secret("", path)
    assert len(made) == 64
    assert link_secret("", path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert link_secret("given", path) == b"given"


# -- through the door ----------------------------------------------------------------------------


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


async def test_a_request_that_comes_twice_at_the_same_moment_has_one_place(gateway: Any) -> None:
    named: dict[str, Any] = {"extra_headers": {"x-trimtab-conversation": "c-1"}}
    await asyncio.gather(*[say(gateway, "one", **named) for _ in range(3)])
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
