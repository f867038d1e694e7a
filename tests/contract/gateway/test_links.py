"""Links between calls: the twin in memory, and SQL on SQLite and PostgreSQL."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.gateway.adapters.links import SqlLinks
from services.gateway.adapters.memory import LinkMemory
from services.gateway.domain.linking import Link, Question, chain_on, question_of
from services.gateway.ports import Links
from shared.language.messages import Message, text_message
from shared.state.database import Database

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REVISIONS = Path(__file__).parents[3] / "services" / "gateway" / "migrations"
HI, HELLO = text_message("user", "hi"), text_message("assistant", "Hello!")
JOKE, HA = text_message("user", "a joke"), text_message("assistant", "ha")


def asked(*messages: Message, user: str = "ada") -> Question:
    return question_of(b"key", "local", user, "", messages)


def answered(question: Question, answer: Message, name: str, minute: int = 0) -> Link:
    return Link(
        history=question.history,
        answered=chain_on(b"key", question.history, answer),
        parent=question.parent,
        conversation_id="c",
        asked_turn_id=f"asked-{name}",
        answer_turn_id=f"answer-{name}",
        made=NOW + timedelta(minutes=minute),
    )


@contextmanager
def running(url: str) -> Iterator[SqlLinks]:
    database = Database(url, revisions=REVISIONS)
    links, stop = SqlLinks(database, clock=lambda: NOW), threading.Event()
    thread = threading.Thread(target=links.run, args=(stop,))
    thread.start()
    try:
        yield links
    finally:
        stop.set()
        thread.join()
        database.close()


async def check(links: Links) -> None:
    beginning, joke = asked(HI), asked(HI, HELLO, JOKE)
    first, second = answered(beginning, HELLO, "1"), answered(joke, HA, "2", 1)
    for link in (first, second):
        links.remember(link)
    assert await links.find(beginning) == [first, second]
    assert await links.find(joke) == [first, second]
    assert await links.find(asked(HI, HELLO, text_message("user", "a poem"))) == [first, second]
    assert await links.find(asked(HI, user="bob")) == []


async def test_memory_finds_what_was_remembered() -> None:
    await check(LinkMemory())


async def test_sql_finds_what_was_remembered(database_url: str) -> None:
    with running(database_url) as links:
        await check(links)


async def test_another_process_finds_them_and_a_stop_loses_none(database_url: str) -> None:
    beginning, joke = asked(HI), asked(HI, HELLO, JOKE)
    first, second = answered(beginning, HELLO, "1"), answered(joke, HA, "2", 1)
    with running(database_url) as one, running(database_url) as other:
        one.remember(first)
        async with asyncio.timeout(10):
            while await other.find(beginning) != [first]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        one.remember(second)
    with running(database_url) as later:
        assert await later.find(joke) == [first, second]
        assert later.prune() == 0
