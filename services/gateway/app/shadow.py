"""A canary in the shadow of the champion: it is asked what users ask the champion, behind their chats, and
nobody sees what it answers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.gateway.app.exchanges import Exchange
from services.gateway.app.groups import Groups, composed_for
from services.gateway.domain.answers import SERVERS_FAULT, Answer
from services.gateway.domain.rollout import Version
from services.gateway.ports import AnswerReport, AnswerScorer, Upstream
from shared.language.errors import TrimtabError, Unavailable
from shared.language.json_text import decode, encode
from shared.language.messages import Message
from shared.language.openai_messages import has_content

_log = logging.getLogger(__name__)
# Chats whose shadow waits; one is asked at a time, so that users' own are not slower for it.
_MOST_WAITING = 100
_OK = 200
Put = Callable[[AnswerReport], None]


@dataclass(frozen=True, slots=True)
class _Chat:
    """`answer`: the champion's, None if it failed."""

    exchange: Exchange
    champion: Version
    canary: Version
    answer: Answer | None


class Shadow:
    """Of what is answered here the log gets nothing, and the reward service only what it is to score.

    `counts`: chats by what became of their shadow: "shadowed", of which some are "unscored", as their rewards
    are not known; "skipped", because too many waited; "inconclusive", where the canary refused or was busy, or
    no replica was there."""

    def __init__(self, upstream: Upstream, scorer: AnswerScorer, groups: Groups) -> None:
        self._upstream, self._scorer, self._groups = upstream, scorer, groups
        self._waiting: deque[_Chat] = deque()
        self._wake = asyncio.Event()
        self.counts: Counter[str] = Counter()

    def ask(
        self, exchange: Exchange, champion: Version, canary: Version, answer: Answer | None
    ) -> None:
        """Asks the canary, later. `answer`: the champion's, None if it failed. Never waits."""
        if len(self._waiting) >= _MOST_WAITING:
            self.counts["skipped"] += 1
            return
        self._waiting.append(_Chat(exchange, champion, canary, answer))
        self._wake.set()

    def forget(self, tenant: str, user_id: str) -> None:
        """For a user who was erased."""
        left = [one for one in self._waiting if _whose(one.exchange) != (tenant, user_id)]
        self._waiting = deque(left)

    async def run(self, put: Put) -> None:
        """Until it is cancelled. `put` is given a report of each version's answer, the champion's first."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._shadowed(self._waiting.popleft(), put)

    async def _shadowed(self, chat: _Chat, put: Put) -> None:
        try:
            answer = await self._asked(chat.exchange, chat.canary)
        except (TrimtabError, ValueError):
            answer = None
        except Exception:  # noqa: BLE001 - no gateway fails of it
            _log.exception("the shadow of a chat failed")
            return
        if answer is not None and not answer.choices:
            self.counts["inconclusive"] += 1
            return
        rewards, model = await self._rewards(chat.exchange, chat.answer, answer)
        tenant, user_id = _whose(chat.exchange)
        of = (tenant, chat.exchange.chosen.policy, chat.canary.name)
        both = ((chat.champion, chat.answer), (chat.canary, answer))
        for place, (version, said) in enumerate(both):
            reward = rewards[place] if rewards else None
            put(AnswerReport(*of, version.name, user_id, said is None, None, reward, model))
        self.counts["shadowed"] += 1

    async def _asked(self, exchange: Exchange, canary: Version) -> Answer:
        """The canary's. Without choices where it is inconclusive; a TrimtabError if it failed."""
        chosen, chat = exchange.chosen, exchange.chat
        composed = composed_for(canary, self._groups, chat.tenant, chat.speaker)
        served_name = composed or canary.served_name
        sent: dict[str, Any] = {**exchange.sent, "model": served_name, "stream": False, "n": 1}
        sent.pop("stream_options", None)
        left_out = chosen.left_out.get(served_name, ())
        try:
            reply = await self._upstream.send(encode(sent), *_whose(exchange), left_out)
        except (
            Unavailable
        ):  # of all replicas, and not while the champion was asked: not the canary's fault
            return Answer()
        try:
            content = await reply.read()
        finally:
            await reply.close()
        if reply.status in SERVERS_FAULT:
            raise Unavailable(f"the canary answers with {reply.status}")
        answer = Answer()
        if reply.status == _OK:
            answer.add(decode(content))
        return answer

    async def _rewards(
        self, exchange: Exchange, *answers: Answer | None
    ) -> tuple[list[float], str]:
        """Of both, and the model's name; none if either failed or is empty, or there is no model."""
        said: list[Message] = [
            one.choices[0].message() for one in answers if one and 0 in one.choices
        ]
        if len(said) == len(answers) and all(map(has_content, said)):
            try:
                return await self._scorer.rewards(*_whose(exchange), exchange.chat.messages, said)
            except TrimtabError as error:
                _log.info("answers in the shadow are not scored: %s", error)
        self.counts["unscored"] += 1
        return [], ""


def _whose(exchange: Exchange) -> tuple[str, str]:
    chat = exchange.chat
    return chat.tenant, chat.user_id(exchange.linked.conversation_id)
