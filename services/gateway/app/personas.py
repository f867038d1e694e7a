"""Users' personas in the prompts of their chats: a setting, off by default.

No chat waits for a persona or fails because of one. A persona that is not in memory is fetched in the
background, so that a user's first chat is answered without it. While the feedback service is unavailable,
chats whose persona has become too old are, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from services.gateway.app.newest import Newest
from services.gateway.ports import PersonaSource
from shared.language.messages import persona_words

_log = logging.getLogger(__name__)
# A persona is fetched again after `fresh_s`, and no longer used after this many times as long.
_USED_FOR = 10
# How many users of a tenant may be asked for at a time, and the pause after a failure.
_MOST_ASKED, _PAUSE_S = 1000, 1.0


class Personas(Protocol):
    def of(self, tenant: str, user_id: str) -> str:
        """The text for the prompt; empty if none is known. Never waits, never raises."""


class NoPersonas:
    """Prompts are sent on as they came."""

    def of(self, tenant: str, user_id: str) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class _Known:
    text: str
    at: float


class PersonaCache:
    """The `most` personas used last, fetched for one tenant after another. `counts`: chats for which a persona
    was "used", there was "none", or it was "unknown"; and lookups that "failed"."""

    def __init__(
        self, source: PersonaSource, clock: Callable[[], float], fresh_s: float, most: int
    ) -> None:
        """`clock` in seconds, from any starting point."""
        self._source, self._clock, self._fresh_s = source, clock, fresh_s
        self._known: Newest[str, _Known] = Newest(most)
        # By tenant, the one served last at the end; its users in the order of the requests.
        self._asked: OrderedDict[str, dict[str, None]] = OrderedDict()
        self._wake = asyncio.Event()
        self.counts: Counter[str] = Counter()

    def of(self, tenant: str, user_id: str) -> str:
        known, now = self._known.get(tenant, user_id), self._clock()
        if known is None or now - known.at >= self._fresh_s:
            self._ask(tenant, user_id)
        if known is None or now - known.at >= _USED_FOR * self._fresh_s:
            self.counts["unknown"] += 1
            return ""
        self._known.put(tenant, user_id, known)
        self.counts["used" if known.text else "none"] += 1
        return known.text

    def forget(self, tenant: str, user_id: str) -> None:
        """For a user who was erased."""
        self._no_longer_ask(tenant, user_id)
        self._known.pop(tenant, user_id)

    async def run(self) -> None:
        """Fetches what was requested, one after the other, until it is cancelled."""
        while True:
            await self._wake.wait()
            while self._asked:
                await self._look_up(*self._next())
            self._wake.clear()

    def _ask(self, tenant: str, user_id: str) -> None:
        mine = self._asked.setdefault(tenant, {})
        if len(mine) < _MOST_ASKED:  # otherwise a later chat of the user requests it
            mine[user_id] = None
            self._wake.set()

    def _next(self) -> tuple[str, str]:
        tenant = next(iter(self._asked))
        self._asked.move_to_end(tenant)
        return tenant, next(iter(self._asked[tenant]))

    def _no_longer_ask(self, tenant: str, user_id: str) -> bool:
        """Whether it was still asked for."""
        mine = self._asked.get(tenant, {})
        was_asked = user_id in mine
        mine.pop(user_id, None)
        if was_asked and not mine:
            del self._asked[tenant]
        return was_asked

    async def _look_up(self, tenant: str, user_id: str) -> None:
        try:
            text = await self._source.persona(tenant, user_id)
        except Exception as error:  # noqa: BLE001 - no chat and no gateway fails of it
            _log.info("a persona cannot be fetched: %s", error)
            self.counts["failed"] += 1
            self._no_longer_ask(tenant, user_id)
            await asyncio.sleep(_PAUSE_S)
            return
        if self._no_longer_ask(tenant, user_id):  # otherwise it was forgotten meanwhile
            self._known.put(tenant, user_id, _Known(text, self._clock()))


def with_persona(body: Mapping[str, Any], persona: str) -> dict[str, Any]:
    """The body with the persona at the end of its first message if that is a system (or developer) message,
    otherwise in a system message of its own, as in training."""
    if not persona:
        return dict(body)
    words = persona_words(persona)
    first, *others = body["messages"]
    if first.get("role") not in ("system", "developer"):
        return {**body, "messages": [{"role": "system", "content": words}, first, *others]}
    content = first.get("content")
    if isinstance(content, list):
        longer: object = [*content, {"type": "text", "text": words}]
    else:
        longer = f"{content}\n{words}" if content else words
    return {**body, "messages": [{**first, "content": longer}, *others]}
