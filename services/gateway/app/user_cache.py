"""What another service knows of users, from memory: their personas, their groups.

No chat waits for it or fails because of it. What is not in memory is fetched in the background, so that a
user's first chat is answered without it. While that service is unavailable, chats for which it has become too
old are, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.gateway.app.newest import Newest
from services.gateway.ports import GroupSource

_log = logging.getLogger(__name__)
# How many users of a tenant may be asked for at a time, and the pause after a failure.
_MOST_ASKED, _PAUSE_S = 1000, 1.0
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is known is fetched again after `fresh_s`, and no longer used after `used_s`. It is kept of the
    `most` users seen last."""

    fresh_s: float
    used_s: float
    most: int


@dataclass(frozen=True, slots=True)
class _Known(Generic[V]):
    value: V
    at: float


class UserCache(Generic[V]):
    """Fetched for one tenant after another. `counts`: chats for which it was "used", there was "none", or it
    was "unknown"; and lookups that "failed"."""

    def __init__(
        self,
        what: str,
        look_up: Callable[[str, str], Awaitable[V]],
        nothing: V,
        clock: Callable[[], float],
        keeping: Keeping,
    ) -> None:
        """`what`: as the log calls it. `look_up`: by tenant and user's id; it may raise anything. `nothing`:
        what chats get while nothing is known. `clock` in seconds, from any starting point."""
        self._what, self._look_up, self._nothing = what, look_up, nothing
        self._clock, self.keeping = clock, keeping
        self._known: Newest[str, _Known[V]] = Newest(keeping.most)
        # By tenant, the one served last at the end; its users in the order of the requests.
        self._asked: OrderedDict[str, dict[str, None]] = OrderedDict()
        # Those erased last: what was read of them before may come after.
        self._forgotten: deque[tuple[str, str]] = deque(maxlen=_MOST_ASKED)
        self._wake = asyncio.Event()
        self.counts: Counter[str] = Counter()

    def of(self, tenant: str, user_id: str) -> V:
        """Never waits, never raises."""
        known, now = self._known.get(tenant, user_id), self._clock()
        if known is None or now - known.at >= self.keeping.fresh_s:
            self._ask(tenant, user_id)
        if known is None or now - known.at >= self.keeping.used_s:
            self.counts["unknown"] += 1
            return self._nothing
        self._known.put(tenant, user_id, known)
        self.counts["used" if known.value else "none"] += 1
        return known.value

    def learn(self, tenant: str, user_id: str, value: V) -> None:
        """What was read of a user who was not asked for. Of one who was just erased, nothing."""
        if (tenant, user_id) not in self._forgotten:
            self._known.put(tenant, user_id, _Known(value, self._clock()))

    def forget(self, tenant: str, user_id: str) -> None:
        """For a user who was erased."""
        self._no_longer_ask(tenant, user_id)
        self._known.pop(tenant, user_id)
        self._forgotten.append((tenant, user_id))

    async def run(self) -> None:
        """Fetches what was requested, one after the other, until it is cancelled."""
        while True:
            await self._wake.wait()
            while self._asked:
                await self._fetch(*self._next())
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

    async def _fetch(self, tenant: str, user_id: str) -> None:
        try:
            value = await self._look_up(tenant, user_id)
        except Exception as error:  # noqa: BLE001 - no chat and no gateway fails of it
            _log.info("%s cannot be fetched: %s", self._what, error)
            self.counts["failed"] += 1
            self._no_longer_ask(tenant, user_id)
            await asyncio.sleep(_PAUSE_S)
            return
        if self._no_longer_ask(tenant, user_id):  # otherwise it was forgotten meanwhile
            self._known.put(tenant, user_id, _Known(value, self._clock()))


@dataclass(frozen=True, slots=True)
class KnownUsers:
    """What other services know of users; `groups` are the names of those that a user belongs to, and `source`
    is where they come from."""

    personas: UserCache[str]
    groups: UserCache[tuple[str, ...]]
    source: GroupSource

    def forget(self, tenant: str, user_id: str) -> None:
        """For a user who was erased."""
        self.personas.forget(tenant, user_id)
        self.groups.forget(tenant, user_id)
