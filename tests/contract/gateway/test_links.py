"""Links between calls: the twin in memory, and SQL on SQLite and PostgreSQL."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.gateway.adapters.link_table import (
    AGING,
    LINK_COUNTS,
    LINKS,
    TABLES,
    find,
    forget_conversations,
)
from services.gateway.adapters.links import SqlLinks
from services.gateway.adapters.memory import LinkMemory
from services.gateway.domain.link_index import ALIKE
from services.gateway.domain.linking import Call, Link, Question, chain_on, mark_of, question_of
from services.gateway.ports import Links
from shared.language.messages import Message, text_message
from shared.language.retention import Keep, RetentionPolicy
from shared.privacy.retention import Retention
from shared.state import migrations
from shared.state.database import Database
from shared.state.engine import open_engine
from tests.contract.plans import recorded, whole_tables
from tests.contract.state import opened

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REVISIONS = Path(__file__).parents[3] / "services" / "gateway" / "migrations"
HI, HELLO = text_message("user", "hi"), text_message("assistant", "Hello!")
JOKE, HA = text_message("user", "a joke"), text_message("assistant", "ha")


def asked(*messages: Message, user: str = "ada") -> Question:
    return question_of(b"key", Call("local", user, "", messages))


def answered(
    question: Question,
    answer: Message,
    name: str,
    minute: int = 0,
    tenant: str = "local",
    conversation: str = "",
) -> Link:
    return Link(
        tenant=tenant,
        history=question.history,
        answered=chain_on(b"key", question.history, answer),
        parent=question.parent,
        conversation_id=conversation or f"c-{name}",
        asked_turn_id=f"asked-{name}",
        answer_turn_id=f"answer-{name}",
        made=NOW + timedelta(minutes=minute),
        thread=question.thread if question.known else "",
        asked=question.asked,
        said=mark_of(b"key", question.thread, answer) if question.known else "",
        before=question.said,
        place=question.count + 4,
        carried=question.count,
        voice="v",
        model_version="assistant-v1",
        completion_id=f"chatcmpl-{name}",
        request_id=f"request-{name}",
        aside=name == "2",
    )


@contextmanager
def running(url: str) -> Iterator[SqlLinks]:
    """What is stored is waited for as long as it takes: how long a chat may wait is not tested here."""
    database = Database(url, revisions=REVISIONS)
    links, stop = SqlLinks(database, wait_s=30.0, clock=lambda: NOW), threading.Event()
    thread = threading.Thread(target=links.run, args=(stop,))
    thread.start()
    try:
        yield links
    finally:
        stop.set()
        thread.join()
        database.close()


async def check(links: Links) -> None:
    """By history, by an answer, by how it went on, by the end of a history, and by name."""
    beginning, joke = asked(HI), asked(HI, HELLO, JOKE)
    first = answered(beginning, HELLO, "1", conversation="c")
    second = answered(joke, HA, "2", 1, conversation="c")
    for link in (first, second):
        links.remember(link)
    assert await links.find(beginning) == [first, second]
    assert await links.find(joke) == [first, second]
    poem = text_message("user", "a poem")
    assert await links.find(asked(HI, HELLO, poem)) == [first, second]
    assert await links.find(asked(JOKE, HA, poem)) == [first, second]
    assert await links.find(asked(HI, user="bob")) == []
    assert await links.find(named("c", poem)) == [first, second]
    assert await links.find(named("d", poem)) == []


def named(conversation: str, *messages: Message) -> Question:
    return question_of(b"key", Call("local", "ada", conversation, messages))


async def test_memory_finds_what_was_remembered() -> None:
    await check(LinkMemory())


async def test_sql_finds_what_was_remembered(database_url: str) -> None:
    with running(database_url) as links:
        await check(links)


async def test_another_process_finds_them_and_a_stop_loses_none(database_url: str) -> None:
    beginning, joke = asked(HI), asked(HI, HELLO, JOKE)
    first = answered(beginning, HELLO, "1", conversation="c")
    second = answered(joke, HA, "2", 1, conversation="c")
    with running(database_url) as one, running(database_url) as other:
        one.remember(first)
        async with asyncio.timeout(10):
            while await other.find(beginning) != [first]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        one.remember(second)
    with running(database_url) as later:
        assert await later.find(joke) == [first, second]
        assert later.prune() == 0


async def test_a_popular_greeting_does_not_crowd_out_others(database_url: str) -> None:
    """Nobody's "hi" was answered a thousand times since; both are asked about at once."""
    greeting, joke = asked(HI, HELLO, JOKE, user=""), asked(HI, HELLO, JOKE)
    mine = answered(asked(HI), HELLO, "mine")
    with running(database_url) as before:
        before.remember(mine)
        for number in range(1_000):
            before.remember(answered(asked(HI, user=""), HELLO, str(number), 1 + number))
    with running(database_url) as links:
        popular, found = await asyncio.gather(links.find(greeting), links.find(joke))
    assert mine in found
    theirs = [link.conversation_id for link in popular if link.answered in greeting.prefixes]
    assert theirs == [f"c-{number}" for number in range(1_000 - ALIKE, 1_000)]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with opened("gateway", database_url) as made:
        yield made


def kept(database: Database) -> dict[str, int]:
    """How many links there are of each tenant; what is counted beside them must say the same."""
    with database.read() as connection:
        tenants = connection.execute(sa.select(LINKS.c.tenant)).scalars().all()
        counts = {row.tenant: row.links for row in connection.execute(sa.select(LINK_COUNTS))}
    assert counts == Counter(tenants)
    return counts


def remember(links: SqlLinks, tenant: str, numbers: Iterable[int]) -> None:
    for number in numbers:
        question = asked(HI, user=f"{tenant}-{number}")
        links.remember(answered(question, HELLO, f"{number}", number // 60, tenant))
    links.once()


def test_a_tenant_that_floods_pushes_out_its_own_links(database: Database) -> None:
    links = SqlLinks(database, max_links=1_000, clock=lambda: NOW)
    remember(links, "small", range(100))
    remember(links, "large", range(5_000))
    remember(links, "middle", range(600))
    while links.prune():
        continue
    assert kept(database) == {"small": 100, "large": 450, "middle": 450}
    with database.read() as connection:
        query = sa.select(LINKS.c.conversation_id).where(LINKS.c.tenant == "large")
        left = connection.execute(query.order_by(LINKS.c.seq)).scalars().all()
    assert left == [f"c-{number}" for number in range(4_550, 5_000)]


def test_links_go_by_their_age_and_by_their_tenants_rule(database: Database) -> None:
    links = SqlLinks(database, max_age=timedelta(days=20), clock=lambda: NOW + timedelta(days=20))
    remember(links, "local", (0, 600))
    remember(links, "brief", (0, 600))
    assert links.prune() == 0
    links.clock = lambda: NOW + timedelta(days=20, minutes=5)
    assert links.prune() == 2
    policy = RetentionPolicy({"*": Keep(store_days=30), "brief": Keep(store_days=10)})
    at = NOW + timedelta(days=12)
    retention = Retention(database, AGING, policy, lambda: at, seen_days=3)
    assert retention.once() == 1
    assert kept(database) == {"local": 1}


def test_an_erasure_takes_a_tenants_conversations_only(database: Database) -> None:
    links = SqlLinks(database)
    for tenant in ("local", "other", ""):
        remember(links, tenant, (1, 2))
    with database.begin() as transaction:
        assert forget_conversations(transaction, "local", ["c-1", "c-7"]) == 2
    assert kept(database) == {"local": 1, "other": 2, "": 1}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_gateways_count_together(database: Database, database_url: str) -> None:
    def remember_all(number: int) -> None:
        with opened("gateway", database_url) as mine:
            links = SqlLinks(mine, max_links=150, clock=lambda: NOW)
            for step in range(20):
                remember(links, f"t{step % 3}", range(100 * number, 100 * number + 10))
                links.prune()

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(remember_all, (1, 2))) == [None, None]
    links = SqlLinks(database, max_links=150, clock=lambda: NOW)
    while links.prune():
        continue
    assert sum(kept(database).values()) == 150


def test_no_question_and_no_pruning_reads_all_links(database: Database) -> None:
    links = SqlLinks(database, max_links=10, max_age=timedelta(days=1), clock=lambda: NOW)
    policy = RetentionPolicy({"*": Keep(store_days=30), "brief": Keep(store_days=10)})
    retention = Retention(database, AGING, policy, lambda: NOW, seen_days=3)
    with recorded(database) as said:
        remember(links, "local", range(30))
        links.prune()
        retention.once()
        with database.begin() as transaction:
            forget_conversations(transaction, "local", ["c-1", "c-2"])
        with database.read() as connection:
            find(connection, [((kind, "a"), 64) for kind in ("history", "answered", "parent")])
            find(connection, [(("thread", "a"), 16), (("thread", "b"), 16)])
            find(connection, [(("exchange", "a", "b"), 64), (("conversation", "local", "c"), 16)])
    found = whole_tables(database, said, TABLES)
    # A row for each tenant.
    assert [one for one in found if "link_counts" not in one] == []


def test_links_of_an_older_version_are_found_and_counted(database_url: str) -> None:
    engine = open_engine(database_url)
    migrations.upgrade(engine, REVISIONS, "0002")
    row = {
        "history": "h",
        "answered": "a",
        "parent": "",
        "conversation_id": "c",
        "asked_turn_id": "t0",
        "answer_turn_id": "t1",
        "made_us": 5,
    }
    with engine.begin() as connection:
        connection.execute(sa.table("links", *map(sa.column, row)).insert(), [row, row])
    engine.dispose()
    with opened("gateway", database_url) as database:
        assert kept(database) == {"": 2}
        with database.read() as connection:
            assert [one.answered for one in find(connection, [(("history", "h"), 64)])] == [
                "a",
                "a",
            ]
