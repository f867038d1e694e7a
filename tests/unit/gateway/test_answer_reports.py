"""What the registry is told of answers while a canary is out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.gateway.app.answer_reports import AnswerReports
from services.gateway.app.groups import NoGroups
from services.gateway.domain.rollout import Rollout, Version
from services.gateway.ports import AnswerReport
from shared.language.errors import InvalidArgument, TrimtabError, Unavailable
from shared.language.groups import Composition
from tests.unit.gateway.conftest import Gateway, eventually

CHAMPION, CANARY = Version("assistant-v1", "one"), Version("assistant-v2", "two")
# Of these users, ada is on the champion and bob on the canary.
OUT = Rollout(1, CHAMPION, CANARY, 0.5)


class MemoryRegistry:
    """The AnswerReportSink's twin."""

    def __init__(self) -> None:
        self.told: list[AnswerReport] = []
        self.calls = 0
        self.fails: TrimtabError | None = None

    async def report(self, reports: Sequence[AnswerReport]) -> None:
        self.calls += 1
        if self.fails:
            raise self.fails
        self.told += reports


class House:
    def __init__(self, gateway: Gateway, registry: MemoryRegistry, reports: AnswerReports) -> None:
        self.gateway, self.registry, self.reports = gateway, registry, reports

    async def say(self, user: str, model: str = "assistant", **fields: Any) -> int:
        body = {"model": model, "user": user, "messages": [{"role": "user", "content": "hi"}]}
        answer = await self.gateway.http.post("/v1/chat/completions", json={**body, **fields})
        return answer.status_code

    async def told(self, count: int) -> list[tuple[str, str, bool]]:
        """Once there are so many: user, version, whether it failed."""
        await eventually(lambda: len(self.registry.told) >= count)
        await asyncio.sleep(0.03)
        return [(one.user_id, one.version, one.failed) for one in self.registry.told]


@contextlib.asynccontextmanager
async def running(
    folder: Path, start: Callable[..., Gateway], groups: Any = None
) -> AsyncIterator[House]:
    registry = MemoryRegistry()
    reports = AnswerReports(registry, groups or NoGroups(), gather_s=0.01, pause_s=0.01)
    async with start(folder / "spool", reports=reports, groups=groups) as gateway:
        task = asyncio.create_task(reports.run())
        try:
            yield House(gateway, registry, reports)
        finally:
            task.cancel()


@pytest.fixture
async def house(tmp_path: Path, start_gateway: Callable[..., Gateway]) -> AsyncIterator[House]:
    async with running(tmp_path, start_gateway) as made:
        yield made


def user_of(version: Version, rollout: Rollout = OUT, after: int = 0) -> str:
    names = (f"user-{n}" for n in range(after, 1000))
    return next(name for name in names if rollout.for_user("local", name) == version)


async def test_each_users_first_answer_by_either_version_is_told_once(house: House) -> None:
    house.gateway.serve(OUT)
    ada, bob = user_of(CHAMPION), user_of(CANARY)
    for user in (ada, bob, ada, bob):
        assert await house.say(user) == 200
        assert await house.say(user, stream=True) == 200
    assert await house.told(2) == [(ada, CHAMPION.name, False), (bob, CANARY.name, False)]
    first, second = house.registry.told
    # Only a streamed answer tells when it began.
    assert (first.wait_s, second.wait_s) == (None, None)
    assert (first.tenant, first.policy, first.canary) == ("local", "assistant", CANARY.name)
    assert house.reports.counts == {"reported": 2}


async def test_of_a_streamed_answer_it_is_told_how_long_its_first_words_took(house: House) -> None:
    house.gateway.serve(OUT)
    house.gateway.passes = timedelta(seconds=0.25)
    await house.say(user_of(CANARY), stream=True)
    await house.told(1)
    # The clock goes on by 0.25 s each time somebody looks: when the chat began, then at its first word.
    assert [one.wait_s for one in house.registry.told] == [0.25]


async def test_nothing_is_told_without_a_canary_or_of_who_asked_for_a_version(house: House) -> None:
    await house.say("ada")
    house.gateway.serve(Rollout(1, CHAMPION, None))
    await house.say("ada")
    house.gateway.serve(Rollout(2, CHAMPION, CANARY, 1.0))
    await house.say("ada", CHAMPION.name)
    await house.say("ada", CANARY.name)
    await house.say("bob")
    assert await house.told(1) == [("bob", CANARY.name, False)]


@pytest.mark.parametrize(
    ("served", "status", "told"),
    # A caller's mistake, and a server that is busy, are no failures of the version.
    [("broken", 400, None), ("busy", 429, None), ("lost", 404, True), ("failing", 500, True)],
)
async def test_which_statuses_are_failures(
    house: House, served: str, status: int, told: bool | None
) -> None:
    house.gateway.serve(Rollout(1, CHAMPION, Version("assistant-v2", served), 1.0))
    assert await house.say("ada") == status
    house.gateway.serve(Rollout(2, CHAMPION, Version("assistant-v2", "two"), 1.0))
    await house.say("bob")
    expected = [] if told is None else [("ada", "assistant-v2", told)]
    assert await house.told(1 + len(expected)) == [*expected, ("bob", "assistant-v2", False)]


async def test_a_stream_that_breaks_off_failed_and_so_did_one_that_nobody_answered(
    house: House,
) -> None:
    house.gateway.serve(OUT)
    ada, bob = user_of(CHAMPION), user_of(CANARY)
    house.gateway.model.break_after = 1
    await house.say(ada, stream=True)
    await house.gateway.model.stop(0)
    assert await house.say(bob) == 503
    assert await house.told(2) == [(ada, CHAMPION.name, True), (bob, CANARY.name, True)]


async def test_while_the_registry_is_away_reports_wait_and_an_erased_user_is_forgotten(
    house: House,
) -> None:
    house.registry.fails = Unavailable("away", reason="SERVICE_AWAY")
    house.gateway.serve(OUT)
    ada, bob = user_of(CHAMPION), user_of(CANARY)
    await house.say(ada)
    await house.say(bob)
    await eventually(lambda: house.registry.calls >= 2)
    house.reports.forget("local", ada)
    house.registry.fails = None
    told = await house.told(1)
    assert told == [(bob, CANARY.name, False)] or (ada, CHAMPION.name, False) in told
    await house.say(ada)  # as if it were new
    await eventually(lambda: ada in [one.user_id for one in house.registry.told])


async def test_what_the_registry_refuses_is_counted_and_does_not_stop_the_rest(
    house: House,
) -> None:
    house.registry.fails = InvalidArgument("no", field="reports[0].version")
    house.gateway.serve(OUT)
    await house.say(user_of(CHAMPION))
    await eventually(lambda: house.reports.counts["refused"] == 1)
    house.registry.fails = None
    await house.say(user_of(CANARY))
    assert len(await house.told(1)) == 1


async def test_whoever_gets_the_same_weights_from_both_versions_says_nothing(
    tmp_path: Path, start_gateway: Callable[..., Gateway]
) -> None:
    class Known:
        def of(self, tenant: str, user_id: str) -> Sequence[str]:
            return ("plan=free",) if user_id == "ada" else ()

    for_free = Version("assistant-v2", "two", Composition.by_group({"plan=free": "two"}, "one"))
    async with running(tmp_path, start_gateway, Known()) as house:
        house.gateway.serve(Rollout(1, CHAMPION, for_free, 1.0))
        await house.say("bob")
        await house.say("ada")
        assert await house.told(1) == [("ada", "assistant-v2", False)]
