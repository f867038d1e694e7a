"""Tells the registry how each version answers while a canary is out: errors, and how long people wait."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque

from services.gateway.app.exchanges import Exchange
from services.gateway.app.groups import Groups, composed_for
from services.gateway.app.newest import Newest
from services.gateway.app.shadow import Shadow
from services.gateway.domain.answers import Answer
from services.gateway.domain.chat import Chat
from services.gateway.domain.rollout import Version
from services.gateway.ports import AnswerReport, AnswerReportSink
from shared.language.errors import DeadlineExceeded, TrimtabError, Unavailable

_log = logging.getLogger(__name__)
# How many users are remembered as reported; a report that is repeated changes nothing.
_MOST_USERS = 50_000
# Rollouts, and versions of them, that are remembered of a user.
_MOST_ROLLOUTS = 8
_MOST_WAITING = 10_000
# In one call, after having waited so long for more.
_MOST_AT_ONCE, _GATHER_S = 1000, 0.5
_PAUSE_S = 2.0


class AnswerReports:
    """Each user's first answer by the champion and by the canary. Whoever asked for a version by name was not
    drawn for it and says nothing about the rollout; nor does who gets the same weights from both versions.

    `counts`: reports by what became of them, "reported", "dropped" (while the registry was away for long) or
    "refused"."""

    def __init__(
        self,
        sink: AnswerReportSink,
        groups: Groups,
        shadow: Shadow,
        gather_s: float = _GATHER_S,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._sink, self._groups, self._shadow = sink, groups, shadow
        self._gather_s, self._pause_s = gather_s, pause_s
        self._reported: Newest[str, tuple[tuple[str, str, str, int], ...]] = Newest(_MOST_USERS)
        self._waiting: deque[AnswerReport] = deque()
        self._wake = asyncio.Event()
        self.counts: Counter[str] = Counter()

    def note(self, exchange: Exchange, answer: Answer | None, wait_s: float | None = None) -> None:
        """`answer`: None if it failed. `wait_s`: seconds until the first words of one that was streamed. Never
        waits."""
        chosen, chat = exchange.chosen, exchange.chat
        rollout = chosen.rollout
        if rollout is None or rollout.canary is None:
            return
        champion, canary = rollout.champion, rollout.canary
        if rollout.is_shadow and not _may_be_shadowed(exchange, answer):
            return
        user_id = chat.user_id(exchange.linked.conversation_id)
        of = (chosen.policy, canary.name, chosen.version.name)
        # A version may be a canary again later; what is told again of the same rollout changes nothing.
        mark = (*of, rollout.revision)
        known = self._reported.get(chat.tenant, user_id) or ()
        if mark in known:
            return
        self._reported.put(chat.tenant, user_id, (*known, mark)[-_MOST_ROLLOUTS:])
        if self._is_spared(champion, canary, chat):
            return
        if rollout.is_shadow:
            self._shadow.ask(exchange, champion, canary, answer)
        else:
            self.put(AnswerReport(chat.tenant, *of, user_id, answer is None, wait_s))

    def put(self, report: AnswerReport) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self.counts["dropped"] += 1
        self._waiting.append(report)
        self._wake.set()

    def forget(self, tenant: str, user_id: str) -> None:
        """For a user who was erased."""
        self._shadow.forget(tenant, user_id)
        self._reported.pop(tenant, user_id)
        left = [one for one in self._waiting if (one.tenant, one.user_id) != (tenant, user_id)]
        self._waiting = deque(left)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._gather_s)
            self._wake.clear()
            while self._waiting:
                await self._send()

    async def _send(self) -> None:
        count = min(len(self._waiting), _MOST_AT_ONCE)
        batch = [self._waiting.popleft() for _ in range(count)]
        try:
            await self._sink.report(batch)
        except (Unavailable, DeadlineExceeded) as error:
            _log.info("the registry is not told how versions answer: %s", error)
            self._waiting.extendleft(reversed(batch))
            await asyncio.sleep(self._pause_s)
        except TrimtabError as error:
            _log.error("the registry refuses to be told how versions answer: %s", error)
            self.counts["refused"] += count
        else:
            self.counts["reported"] += count

    def _is_spared(self, champion: Version, canary: Version, chat: Chat) -> bool:
        """Whether the same weights answer the user on either arm."""
        if not (champion.composition or canary.composition):
            return False

        def served(version: Version) -> str:
            composed = composed_for(version, self._groups, chat.tenant, chat.speaker)
            return composed or version.served_name

        return served(champion) == served(canary)


def _may_be_shadowed(exchange: Exchange, answer: Answer | None) -> bool:
    """Not one that the client broke off, or that is to leave no trace."""
    return exchange.chat.store is not False and (answer is None or answer.ended)
