"""Which weights answer a user where a version is a composition."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from services.gateway.app.rollouts import RolloutCache
from services.gateway.app.user_cache import UserCache
from services.gateway.domain.rollout import Version
from services.gateway.ports import GroupSource

_log = logging.getLogger(__name__)
_PAUSE_S = 1.0


class Groups(Protocol):
    def of(self, tenant: str, user_id: str) -> Sequence[str]:
        """The groups of people that the user belongs to, the learnt one first; empty if none is known. Never
        waits, never raises."""


class NoGroups:
    """Everybody gets what is for everyone else."""

    def of(self, tenant: str, user_id: str) -> Sequence[str]:
        return ()


def composed_for(version: Version, groups: Groups, tenant: str, speaker: str) -> str:
    """Their served name; empty if the version has its own weights alone. Then nobody's groups are looked up.
    `speaker`: empty for anonymous users. They get what is for everyone else, as they are different ones in each
    conversation."""
    if version.composition is None:
        return ""
    return version.composition.answering(groups.of(tenant, speaker) if speaker else ())


class GroupsAhead:
    """Reads who is in the groups of what is served before they chat: when a composition appears, and from then
    on as often as what is known grows old. Otherwise the first chat of each user would get what is for everyone
    else, and it is mostly the first that a rollout counts. Of a group as many users are read as are kept."""

    def __init__(
        self, rollouts: RolloutCache, source: GroupSource, known: UserCache[tuple[str, ...]]
    ) -> None:
        self._rollouts, self._source, self._known = rollouts, source, known

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._rollouts.news.clear()
            wait_s = self._known.keeping.fresh_s if await self._read() else _PAUSE_S
            try:
                await asyncio.wait_for(self._rollouts.news.wait(), wait_s)
            except TimeoutError:
                continue

    async def _read(self) -> bool:
        """Whether all that is served now was read."""
        try:
            for tenant, group in self._rollouts.composed():
                await self._members(tenant, group)
        except Exception as error:  # noqa: BLE001 - no gateway fails of it, and each chat still looks its user up
            _log.info("the users of groups cannot be read ahead: %s", error)
            return False
        return True

    async def _members(self, tenant: str, group: str) -> None:
        count = 0
        async for user_id, groups in self._source.members(tenant, group):
            self._known.learn(tenant, user_id, groups)
            count += 1
            if count >= self._known.keeping.most:
                return
