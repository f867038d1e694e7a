"""Conversations from stateless calls: continued, regenerated, edited, kept apart."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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
