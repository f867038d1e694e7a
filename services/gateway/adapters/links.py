"""Links between calls: the newest in memory, all of them in SQL, written behind the chats' backs."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from services.gateway.adapters.memory import ALIKE, LinkMemory
from services.gateway.domain.linking import Link, Question
from shared.language.times import from_microseconds, microseconds
from shared.state.database import Database

_log = logging.getLogger(__name__)
TABLES = sa.MetaData()
LINKS = sa.Table(
    "links",
    TABLES,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("history", sa.String, nullable=False, index=True),
    sa.Column("answered", sa.String, nullable=False, index=True),
    sa.Column("parent", sa.String, nullable=False, index=True),
    sa.Column("conversation_id", sa.String, nullable=False),
    sa.Column("asked_turn_id", sa.String, nullable=False),
    sa.Column("answer_turn_id", sa.String, nullable=False),
    sa.Column("made_us", sa.BigInteger, nullable=False, index=True),
    sqlite_autoincrement=True,
)
# Links are written together this often; a question is answered at once.
_GATHERED_S = 0.25
_PRUNED_EVERY_S = 60.0
_MOST_UNWRITTEN = 20_000


@dataclass(frozen=True, slots=True)
class _Asked:
    question: Question
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[list[Link]]


@dataclass(slots=True)
class SqlLinks:
    """`run` is the one thread that uses the database; the rest is called on the event loop.

    A link is durable 0.25 s after it was remembered: that much a kill -9 can take. While the
    database is away, links are kept in memory and written later; beyond a bound the oldest are lost,
    and conversations that go on from them begin anew.
    """

    database: Database
    max_links: int = 1_000_000
    max_age: timedelta = timedelta(days=30)
    wait_s: float = 0.5
    memory: LinkMemory = field(default_factory=LinkMemory)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    # Handed to the thread. A link does not wake it: each wake would take the interpreter from a chat.
    _links: deque[Link] = field(default_factory=deque)
    _asked: deque[_Asked] = field(default_factory=deque)
    _wake: threading.Event = field(default_factory=threading.Event)

    async def find(self, question: Question) -> list[Link]:
        found = self.memory.found(question)
        if _suffices(question, found):
            return found
        loop = asyncio.get_running_loop()
        asked = _Asked(question, loop, loop.create_future())
        self._asked.append(asked)
        self._wake.set()
        try:
            stored = await asyncio.wait_for(asked.answer, self.wait_s)
        except TimeoutError:
            _log.warning("links are not found in time; the conversation may begin anew")
            return found
        for link in stored:
            self.memory.remember(link)
        return self.memory.found(question) if stored else found

    def remember(self, link: Link) -> None:
        self.memory.remember(link)
        self._links.append(link)

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set and all is written."""
        unwritten: list[Link] = []
        pruned = 0.0
        while not stop.is_set() or self._links or unwritten:
            self._wake.wait(_GATHERED_S)
            self._wake.clear()
            asked = _taken(self._asked)
            unwritten += _taken(self._links)
            try:
                self._write(unwritten)
                unwritten.clear()
                self._answer(asked)
                if time.monotonic() - pruned > _PRUNED_EVERY_S:
                    self.prune()
                    pruned = time.monotonic()
            except sa.exc.SQLAlchemyError as error:
                _log.warning("links wait for their database: %s", error)
                del unwritten[:-_MOST_UNWRITTEN]
                for one in asked:
                    one.loop.call_soon_threadsafe(_settle, one.answer, [])
                stop.wait(0.5)

    def prune(self) -> int:
        """Forgets what is too old or too much; how many."""
        oldest = microseconds(self.clock() - self.max_age)
        newest = sa.select(sa.func.max(LINKS.c.seq)).scalar_subquery()
        over = (LINKS.c.made_us < oldest) | (LINKS.c.seq <= newest - self.max_links)
        with self.database.begin() as transaction:
            return transaction.connection.execute(LINKS.delete().where(over)).rowcount

    def _write(self, links: Sequence[Link]) -> None:
        if not links:
            return
        rows = [
            {
                "history": link.history,
                "answered": link.answered,
                "parent": link.parent,
                "conversation_id": link.conversation_id,
                "asked_turn_id": link.asked_turn_id,
                "answer_turn_id": link.answer_turn_id,
                "made_us": microseconds(link.made),
            }
            for link in links
        ]
        with self.database.begin() as transaction:
            transaction.connection.execute(LINKS.insert(), rows)

    def _answer(self, asked: Sequence[_Asked]) -> None:
        """All questions by a few queries: each may be given what another asked for, too."""
        if not asked:
            return
        questions = [one.question for one in asked]
        with self.database.read() as connection:
            first = _rows(connection, LINKS.c.history, [q.history for q in questions])
            beginnings = {q.history for q in questions if not q.answers}
            went_on = [link.answered for link in first if link.history in beginnings]
            prefixes = [digest for q in questions for digest in q.prefixes]
            parents = [*went_on, *(q.parent for q in questions if q.parent)]
            found = [
                *first,
                *_rows(connection, LINKS.c.answered, prefixes),
                *_rows(connection, LINKS.c.parent, parents),
            ]
        for one in asked:
            one.loop.call_soon_threadsafe(_settle, one.answer, found)


def _taken(waiting: deque[Any]) -> list[Any]:
    return [waiting.popleft() for _ in range(len(waiting))]


def _suffices(question: Question, found: Sequence[Link]) -> bool:
    """Whether memory knows what the call goes on from; another gateway may know what went on."""
    nearest = question.prefixes[:1]
    return any(link.history == question.history or link.answered in nearest for link in found)


def _rows(connection: sa.Connection, column: sa.Column[str], digests: list[str]) -> list[Link]:
    if not digests:
        return []
    query = sa.select(LINKS).where(column.in_(set(digests))).order_by(LINKS.c.seq.desc())
    rows = connection.execute(query.limit(ALIKE * len(digests))).all()
    return [
        Link(
            history=row.history,
            answered=row.answered,
            parent=row.parent,
            conversation_id=row.conversation_id,
            asked_turn_id=row.asked_turn_id,
            answer_turn_id=row.answer_turn_id,
            made=from_microseconds(row.made_us),
        )
        for row in reversed(rows)
    ]


def _settle(answer: asyncio.Future[list[Link]], links: list[Link]) -> None:
    if not answer.done():
        answer.set_result(links)
