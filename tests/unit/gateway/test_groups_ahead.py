"""Who is in the groups of what is served is known before they chat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.gateway.app.groups import GroupsAhead
from services.gateway.app.rollouts import RolloutCache
from services.gateway.app.user_cache import Keeping, UserCache
from services.gateway.domain.policies import Served
from services.gateway.domain.rollout import Rollout, Version
from shared.language.errors import Unavailable
from shared.language.groups import Composition
from shared.language.policies import PolicyKey

BASE = Version("assistant-v0", "base")
FOR_SOME = Version("assistant-v1", "v1", Composition.by_group({"shorter": "v1"}, "base"))
KEY = PolicyKey("acme")


class Source:
    """The reward service's twin: users of groups by tenant; can be away."""

    def __init__(self) -> None:
        self.people = {("acme", "shorter"): ["ada", "ben"], ("local", "shorter"): ["eve"]}
        self.read: list[tuple[str, str]] = []
        self.away = False

    async def groups(self, tenant: str, user_id: str) -> tuple[str, ...]:
        return ()

    async def members(self, tenant: str, group: str) -> AsyncIterator[tuple[str, tuple[str, ...]]]:
        self.read.append((tenant, group))
        if self.away:
            raise Unavailable("reward is away")
        for user in self.people.get((tenant, group), []):
            yield user, (group,)


@asynccontextmanager
async def following(
    source: Source, fresh_s: float = 3600.0, most: int = 100
) -> AsyncIterator[tuple[RolloutCache, UserCache[tuple[str, ...]]]]:
    book = UserCache[tuple[str, ...]](
        "groups", source.groups, (), lambda: 0.0, Keeping(fresh_s, 3600.0, most)
    )
    rollouts = RolloutCache(Rollout(0, BASE))
    task = asyncio.create_task(GroupsAhead(rollouts, source, book).run())
    try:
        yield rollouts, book
    finally:
        task.cancel()


async def until_read(source: Source, times: int) -> None:
    deadline = asyncio.get_running_loop().time() + 5
    while len(source.read) < times:
        assert asyncio.get_running_loop().time() < deadline, source.read
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)


async def test_they_are_read_as_soon_as_a_composition_is_served() -> None:
    source = Source()
    async with following(source) as (rollouts, book):
        await asyncio.sleep(0.01)
        assert source.read == []  # nothing that is served asks for a group
        rollouts.heard([Served(KEY, Rollout(1, BASE, FOR_SOME, 0.5))], whole=True)
        await until_read(source, 1)
        assert source.read == [("acme", "shorter")]
        assert [book.of("acme", user) for user in ("ada", "ben", "eve")] == [
            ("shorter",),
            ("shorter",),
            (),
        ]
        assert (
            book.of("local", "eve") == ()
        )  # what is served to one tenant asks for nobody of another


async def test_they_are_read_again_so_that_who_came_in_between_is_known() -> None:
    source = Source()
    async with following(source, fresh_s=0.01) as (rollouts, book):
        rollouts.heard([Served(KEY, Rollout(1, FOR_SOME))], whole=True)
        await until_read(source, 1)
        source.people["acme", "shorter"].append("new")
        await until_read(source, len(source.read) + 2)
        assert book.of("acme", "new") == ("shorter",)


async def test_a_reward_service_that_is_away_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.gateway.app.groups._PAUSE_S", 0.01)
    source = Source()
    source.away = True
    async with following(source) as (rollouts, book):
        rollouts.heard([Served(KEY, Rollout(1, FOR_SOME))], whole=True)
        await until_read(source, 1)
        source.away = False
        await until_read(source, 2)
        assert book.of("acme", "ada") == ("shorter",)


async def test_an_erased_user_is_not_learnt_again_from_what_was_read_before() -> None:
    source = Source()
    async with following(source) as (rollouts, book):
        book.forget("acme", "ada")
        rollouts.heard([Served(KEY, Rollout(1, FOR_SOME))], whole=True)
        await until_read(source, 1)
        assert [book.of("acme", user) for user in ("ada", "ben")] == [(), ("shorter",)]


async def test_no_more_than_so_many_of_a_group_are_read() -> None:
    source = Source()
    async with following(source, most=1) as (rollouts, book):
        rollouts.heard([Served(KEY, Rollout(1, FOR_SOME))], whole=True)
        await until_read(source, 1)
        assert [book.of("acme", user) for user in ("ada", "ben")] == [("shorter",), ()]
