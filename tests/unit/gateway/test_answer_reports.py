"""What the registry is told of answers while a canary is out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.gateway.adapters.upstream import HttpUpstream
from services.gateway.app.answer_reports import AnswerReports
from services.gateway.app.groups import NoGroups
from services.gateway.app.shadow import Shadow
from services.gateway.domain.rollout import Rollout, Version
from services.gateway.ports import AnswerReport
from shared.language.errors import InvalidArgument, TrimtabError, Unavailable
from shared.language.groups import Composition
from shared.language.messages import Message
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


class MemoryScorer:
    """The AnswerScorer's twin: the shorter, the better."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, list[str]]] = []
        self.fails: TrimtabError | None = None

    async def rewards(
        self, tenant: str, user_id: str, asked: Sequence[Message], answers: Sequence[Message]
    ) -> tuple[list[float], str]:
        self.asked.append((tenant, user_id, [one.text for one in (*asked, *answers)]))
        if self.fails:
            raise self.fails
        return [-float(len(one.text)) for one in answers], "local/3"


class House:
    def __init__(
        self,
        gateway: Gateway,
        registry: MemoryRegistry,
        reports: AnswerReports,
        shadow: Shadow,
        scorer: MemoryScorer,
        later: Later,
    ) -> None:
        self.gateway, self.registry, self.reports = gateway, registry, reports
        self.shadow, self.scorer, self.later = shadow, scorer, later

    async def say(self, user: str, model: str = "assistant", **fields: Any) -> int:
        body = {"model": model, "user": user, "messages": [{"role": "user", "content": "hi"}]}
        answer = await self.gateway.http.post("/v1/chat/completions", json={**body, **fields})
        return answer.status_code

    async def told(self, count: int) -> list[tuple[str, str, bool]]:
        """Once there are so many: user, version, whether it failed."""
        await eventually(lambda: len(self.registry.told) >= count)
        await asyncio.sleep(0.03)
        return [(one.user_id, one.version, one.failed) for one in self.registry.told]


class Later:
    """The upstream, which is there once the gateway is."""

    upstream: HttpUpstream | Away

    async def send(self, *asked: Any) -> Any:
        return await self.upstream.send(*asked)


class Away:
    """An upstream that nobody reaches, which is only known once `is_over`."""

    def __init__(self) -> None:
        self.is_over = asyncio.Event()

    async def send(self, *asked: Any) -> Any:
        await self.is_over.wait()
        raise Unavailable("nobody answers")


@contextlib.asynccontextmanager
async def running(
    folder: Path, start: Callable[..., Gateway], groups: Any = None
) -> AsyncIterator[House]:
    registry = MemoryRegistry()
    later, scorer = Later(), MemoryScorer()
    shadow = Shadow(later, scorer, groups or NoGroups())
    reports = AnswerReports(registry, groups or NoGroups(), shadow, gather_s=0.01, pause_s=0.01)
    async with start(folder / "spool", reports=reports, groups=groups) as gateway:
        later.upstream = HttpUpstream(gateway.session, gateway.urls)
        tasks = [asyncio.create_task(one) for one in (reports.run(), shadow.run(reports.put))]
        try:
            yield House(gateway, registry, reports, shadow, scorer, later)
        finally:
            for task in tasks:
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


async def test_a_version_that_is_a_canary_again_is_told_of_again(house: House) -> None:
    bob = user_of(CANARY)
    house.gateway.serve(OUT)
    await house.say(bob)
    house.gateway.serve(Rollout(2, CHAMPION, None))
    await house.say(bob)
    house.gateway.serve(Rollout(3, CHAMPION, CANARY, 0.5))
    await house.say(bob)
    await house.say(bob)
    assert await house.told(2) == [(bob, CANARY.name, False)] * 2


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
    assert await house.told(1) == [(bob, CANARY.name, False)]
    await house.say(ada)  # as if it were new
    assert (await house.told(2))[1:] == [(ada, CHAMPION.name, False)]


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


SHADOW = Rollout(1, CHAMPION, CANARY, 0.0, is_shadow=True)


async def test_in_the_shadow_both_versions_answer_the_same_and_users_see_the_champion(
    house: House,
) -> None:
    house.gateway.serve(SHADOW)
    for stream in (False, True):
        assert await house.say("ada", stream=stream, seed=5, stream_options={}) == 200
    assert await house.told(2) == [("ada", CHAMPION.name, False), ("ada", CANARY.name, False)]
    first, second = house.registry.told
    assert (first.canary, first.reward, second.reward) == (CANARY.name, -15.0, -15.0)
    assert (first.reward_model, second.reward_model) == ("local/3", "local/3")
    assert (first.wait_s, second.wait_s) == (None, None)
    said = "word word word "
    assert house.scorer.asked == [("local", "ada", ["hi", said, said])]
    # Once for the user, whole, and only its name is another.
    of_canary = [one for one in house.gateway.model.bodies if one["model"] == "two"]
    champion = house.gateway.model.bodies[0]
    assert of_canary == [
        {key: value for key, value in champion.items() if key != "stream_options"}
        | {"model": "two", "stream": False, "n": 1}
    ]
    # Nothing of it is logged.
    logged = await house.gateway.logged()
    assert {one.model_version for one in logged} == {"", CHAMPION.name}
    assert house.shadow.counts == {"shadowed": 1}


async def test_in_the_shadow_it_is_seen_which_version_fails(house: House) -> None:
    failing = Version("assistant-v2", "failing")
    house.gateway.serve(Rollout(1, CHAMPION, failing, 0.0, is_shadow=True))
    assert await house.say("ada") == 200
    assert await house.told(2) == [("ada", CHAMPION.name, False), ("ada", failing.name, True)]
    champion = Version("assistant-v1", "failing")
    house.gateway.serve(Rollout(2, champion, CANARY, 0.0, is_shadow=True))
    assert await house.say("bob") == 500
    assert (await house.told(4))[2:] == [
        ("bob", CHAMPION.name, True),
        ("bob", CANARY.name, False),
    ]
    assert house.scorer.asked == []
    assert house.shadow.counts == {"shadowed": 2, "unscored": 2}


async def test_what_is_no_whole_answer_has_no_shadow(house: House) -> None:
    house.gateway.serve(SHADOW)
    assert await house.say("ada", store=False) == 200
    busy = Version("assistant-v2", "busy")
    house.gateway.serve(Rollout(2, CHAMPION, busy, 0.0, is_shadow=True))
    assert await house.say("ada") == 200
    await eventually(lambda: house.shadow.counts["inconclusive"] == 1)
    house.gateway.serve(Rollout(3, CHAMPION, CANARY, 0.0, is_shadow=True))
    house.scorer.fails = Unavailable("away", reason="SERVICE_AWAY")
    assert await house.say("bob") == 200
    assert await house.told(2) == [("bob", CHAMPION.name, False), ("bob", CANARY.name, False)]
    assert [one.reward for one in house.registry.told] == [None, None]


async def test_too_many_shadows_are_skipped_and_an_erased_users_is_dropped(house: House) -> None:
    house.gateway.serve(SHADOW)
    house.later.upstream = away = Away()
    for number in range(103):
        await house.say(f"u{number}")
    # One is under way and a hundred wait.
    assert house.shadow.counts == {"skipped": 2}
    house.reports.forget("local", "u50")
    house.later.upstream = HttpUpstream(house.gateway.session, house.gateway.urls)
    away.is_over.set()
    told = await house.told(198)
    assert len(told) == 198
    assert {user for user, _, _ in told} == {f"u{n}" for n in range(1, 101) if n != 50}
    # That no replica is there is not the canary's fault.
    assert house.shadow.counts == {"skipped": 2, "inconclusive": 1, "shadowed": 99}
