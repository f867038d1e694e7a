"""Links between calls: the newest in memory, all of them in SQL, written in the background."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from services.gateway.adapters.link_table import add, find, forget_beyond, forget_older
from services.gateway.adapters.memory import LinkMemory
from services.gateway.domain.link_index import direct, of_conversations
from services.gateway.domain.linking import Link, Question
from shared.language.errors import Unavailable
from shared.state.database import Database
from shared.state.loop import repeat

_log = logging.getLogger(__name__)
# How often links are written together, in seconds; a question is answered immediately.
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
    """`run` is the thread that writes and finds links, `pruning` the one that removes them; the rest is called
    on the event loop. `max_links`: of all tenants together; beyond it the tenant with the most loses its
    oldest.

    A link is durable 0.25 s after it was remembered: a kill -9 can lose as much. While the database is
    unavailable, links stay in memory and are written later. Beyond a limit the oldest are lost, and calls
    that continue from them begin new conversations.
    """

    database: Database
    max_links: int = 1_000_000
    max_age: timedelta = timedelta(days=30)
    wait_s: float = 0.5
    memory: LinkMemory = field(default_factory=LinkMemory)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    # For the thread. A link does not wake it, as each wake would take the interpreter from a chat.
    _links: deque[Link] = field(default_factory=deque)
    _asked: deque[_Asked] = field(default_factory=deque)
    _wake: threading.Event = field(default_factory=threading.Event)
    # Used by the thread only.
    _unwritten: list[Link] = field(default_factory=list)

    async def find(self, question: Question) -> list[Link]:
        found = self.memory.found(question)
        if _suffices(question, found):
            return found
        loop = asyncio.get_running_loop()
        asked = _Asked(question, loop, loop.create_future())
        self._asked.append(asked)
        self._wake.set()
        try:
            async with asyncio.timeout(self.wait_s):
                stored = await asked.answer
        except TimeoutError:
            _log.warning("links were not found in time; the call may begin a new conversation")
            return found
        for link in stored:
            self.memory.remember(link)
        return self.memory.found(question) if stored else found

    def remember(self, link: Link) -> None:
        self.memory.remember(link)
        self._links.append(link)

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set and everything is written, unless the database is unavailable."""
        repeat("links", self.once, idle_s=_GATHERED_S, wake=self._wake)(stop)
        try:
            self.once()
        except Unavailable as error:
            _log.error("%s links are lost: %s", len(self._unwritten), error)

    def once(self) -> None:
        """Unavailable if the database is: links stay, and questions are answered without it."""
        asked = _taken(self._asked)
        self._unwritten += _taken(self._links)
        try:
            self._write()
            self._answer(asked)
        finally:
            for one in asked:  # no effect on those that were answered
                one.loop.call_soon_threadsafe(_settle, one.answer, [])

    def pruning(self) -> Callable[[threading.Event], None]:
        """The body of a thread that removes links that are too old or too many."""
        return repeat("links.pruning", self.prune, idle_s=_PRUNED_EVERY_S)

    def prune(self) -> int:
        """Removes a batch of each; how many links. More may be left."""
        gone = 0
        with self.database.begin() as transaction:
            gone += forget_older(transaction, self.clock() - self.max_age)
        with self.database.begin() as transaction:
            gone += forget_beyond(transaction, self.max_links)
        return gone

    def _write(self) -> None:
        """On Unavailable the links stay. On any other error they are lost, as they would fail again."""
        links, self._unwritten = self._unwritten, []
        if not links:
            return
        try:
            with self.database.begin() as transaction:
                add(transaction, links)
        except Unavailable:
            self._unwritten = links[-_MOST_UNWRITTEN:]
            raise

    def _answer(self, asked: Sequence[_Asked]) -> None:
        """Answers all questions together; each may also get links for another."""
        if not asked:
            return
        wanted = [key for one in asked for key in direct(one.question)]
        with self.database.read() as connection:
            first = find(connection, wanted)
            more = [key for one in asked for key in of_conversations(one.question, first)]
            found = {*first, *find(connection, more)}
        oldest_first = sorted(found, key=lambda link: link.made)
        for one in asked:
            one.loop.call_soon_threadsafe(_settle, one.answer, oldest_first)


def _taken(waiting: deque[Any]) -> list[Any]:
    return [waiting.popleft() for _ in range(len(waiting))]


def _suffices(question: Question, found: Sequence[Link]) -> bool:
    """Whether memory has what the call continues from; otherwise another gateway may have it."""
    nearest = question.prefixes[:1]
    return any(link.history == question.history or link.answered in nearest for link in found)


def _settle(answer: asyncio.Future[list[Link]], links: list[Link]) -> None:
    if not answer.done():
        answer.set_result(links)
