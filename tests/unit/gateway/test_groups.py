"""A version that is several weights, of which the user's groups choose: looked up behind the chat."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.gateway.adapters.erasing import GatewayRemover
from services.gateway.adapters.groups import NobodysGroups, RewardGroups
from services.gateway.adapters.link_table import TABLES
from services.gateway.adapters.metrics import KnownUsersCollector
from services.gateway.adapters.spool import FileSpool
from services.gateway.app.groups import composed_for
from services.gateway.app.user_cache import Keeping, KnownUsers, UserCache
from services.gateway.domain.rollout import Rollout, Version
from services.reward.people.domain import Division, Taste
from shared.calls.client import aio_channel
from shared.language.errors import Unavailable
from shared.language.groups import UNKNOWN, Composition
from shared.privacy.erasure import Erasure
from shared.state.database import Database
from tests.unit.reward.running import RewardService, serve_channel

HELLO: Any = [{"role": "user", "content": "Hello"}]
COMPOSED = Version(
    "assistant-v3",
    "v3",
    Composition.by_group({"shorter": "v3", "plan=free": "v2", "region=eu": "v1"}, "base"),
)
PLAIN = Version("assistant-v1", "v1")


class MemoryGroups:
    """The reward service's twin: can be away, and stand still."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], tuple[str, ...]] = {
            ("local", "ada"): ("shorter",),
            ("local", "ben"): (UNKNOWN, "plan=free"),
        }
        self.asked: list[tuple[str, str]] = []
        self.away = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def groups(self, tenant: str, user_id: str) -> tuple[str, ...]:
        self.asked.append((tenant, user_id))
        await self.go_on.wait()
        if self.away:
            raise Unavailable("reward is away")
        return self.known.get((tenant, user_id), ())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


Book = UserCache[tuple[str, ...]]
Start = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture
def source() -> MemoryGroups:
    return MemoryGroups()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def book(
    source: MemoryGroups, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Book]:
    monkeypatch.setattr("services.gateway.app.user_cache._PAUSE_S", 0.0)
    made: Book = UserCache("groups", source.groups, (), clock, Keeping(60.0, 3_600.0, most=100))
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()


@pytest.fixture
async def gateway(start_gateway: Start, tmp_path: Path, book: Book) -> AsyncIterator[Any]:
    async with start_gateway(tmp_path / "spool", groups=book) as running:
        running.serve(Rollout(1, COMPOSED, others=(PLAIN,)))
        yield running


def no_personas() -> UserCache[str]:
    async def nothing(tenant: str, user_id: str) -> str:
        return ""

    return UserCache("a persona", nothing, "", lambda: 0.0, Keeping(1.0, 1.0, most=1))


async def settled(book: Book) -> None:
    async with asyncio.timeout(5):
        while book._asked:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def known(book: Book, *users: str) -> None:
    for user in users:
        book.of("local", user)
    await settled(book)


async def chat(gateway: Any, user: str, model: str = "assistant", **more: Any) -> Any:
    body = {"model": model, "messages": HELLO, "user": user, **more}
    answer = await gateway.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer


async def served(gateway: Any, user: str, model: str = "assistant") -> str:
    """What the model server was asked for."""
    await chat(gateway, user, model)
    return str(gateway.model.bodies[-1]["model"])


class Told:
    """Says the same of everybody, and counts how often it was asked."""

    def __init__(self, *groups: str) -> None:
        self.groups, self.asked = groups, 0

    def of(self, tenant: str, user_id: str) -> tuple[str, ...]:
        self.asked += 1
        return self.groups


@pytest.mark.parametrize(
    ("groups", "answers"),
    [
        ((), "base"),
        ((UNKNOWN,), "base"),
        (("lists",), "base"),
        (("shorter",), "v3"),
        (("shorter", "plan=free"), "v3"),
        ((UNKNOWN, "plan=free", "region=eu"), "v2"),
        (("lists", "channel=app", "region=eu"), "v1"),
    ],
)
def test_the_first_of_a_users_groups_with_weights_of_its_own_decides(
    groups: tuple[str, ...], answers: str
) -> None:
    assert composed_for(COMPOSED, Told(*groups), "local", "ada") == answers
    nobody = Told(*groups)
    assert composed_for(COMPOSED, nobody, "local", "") == "base"
    assert composed_for(PLAIN, nobody, "local", "ada") == ""
    assert nobody.asked == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_each_group_gets_its_own_under_one_version(
    gateway: Any, book: Book, stream: bool
) -> None:
    await known(book, "ada", "ben", "eve")
    answers = {
        user: await chat(gateway, user, stream=stream, n=2) for user in ("ada", "ben", "eve")
    }
    assert [one["model"] for one in gateway.model.bodies] == ["v3", "v2", "base"]
    for user, served_name in (("ada", "v3"), ("ben", "v2"), ("eve", "base")):
        headers = answers[user].headers
        assert headers["x-trimtab-version"] == "assistant-v3"
        assert headers["x-trimtab-served-name"] == served_name
        assert '"model":"assistant-v3"' in answers[user].text.replace(" ", "")
        assert f'"{served_name}"' not in answers[user].text
        turns = [one for one in await gateway.logged() if one.user_id == user]
        assert [one.model_version for one in turns] == ["", "assistant-v3", "assistant-v3"]
        assert [one.metadata.get("served_name") for one in turns] == [None, *[served_name] * 2]


async def test_the_first_chat_gets_what_is_for_everyone_else(gateway: Any, book: Book) -> None:
    assert await served(gateway, "ada") == "base"
    await settled(book)
    assert await served(gateway, "ada") == "v3"
    assert book.counts == {"unknown": 1, "used": 1}
    _, groups = KnownUsersCollector(KnownUsers(no_personas(), book, NobodysGroups())).collect()
    counted = {sample.labels["outcome"]: sample.value for sample in groups.samples}
    assert (groups.name, counted) == ("trimtab_gateway_groups", {"unknown": 1, "used": 1})


async def test_a_group_that_changes_or_vanishes_counts_from_the_next_look_up(
    gateway: Any, book: Book, source: MemoryGroups, clock: Clock
) -> None:
    await known(book, "ada")
    found = []
    for at, groups in ((60.0, ("lists", "plan=free")), (120.0, ("taller",)), (180.0, ())):
        clock.now, source.known["local", "ada"] = at, groups
        found.append(await served(gateway, "ada"))
        await settled(book)
    assert [*found, await served(gateway, "ada")] == ["v3", "v2", "base", "base"]
    # A version that has no weights for the group any more, or others.
    source.known["local", "ben"] = ("plan=free",)
    await known(book, "ben")
    assert await served(gateway, "ben") == "v2"
    gateway.serve(
        Rollout(2, Version("assistant-v4", "v4", Composition.by_group({"lists": "v4"}, "v1")))
    )
    assert await served(gateway, "ben") == "v1"
    gateway.serve(Rollout(3, Version("assistant-v5", "v5")))
    assert await served(gateway, "ben") == "v5"


async def test_whose_groups_do_not_matter_nobody_asks(
    gateway: Any, book: Book, source: MemoryGroups
) -> None:
    assert await served(gateway, "ada", "assistant-v1") == "v1"
    gateway.serve(Rollout(2, PLAIN))
    answer = await chat(gateway, "ada")
    assert "x-trimtab-served-name" not in answer.headers
    assert (await gateway.logged())[-1].metadata == {"finish_reason": "stop"}
    assert (source.asked, book.counts) == ([], {})
    # An anonymous user is another one in each conversation.
    gateway.serve(Rollout(3, COMPOSED))
    await gateway.http.post("/v1/chat/completions", json={"model": "assistant", "messages": HELLO})
    assert gateway.model.bodies[-1]["model"] == "base"
    assert (source.asked, book.counts) == ([], {})


async def test_who_is_on_the_canary_stays_there_whatever_their_group(
    gateway: Any, book: Book, source: MemoryGroups
) -> None:
    canary = Version(
        "assistant-v4", "v4", Composition.by_group({"shorter": "v4", "plan=free": "v2"}, "v1")
    )
    rollout = Rollout(2, COMPOSED, canary, 0.5)
    gateway.serve(rollout)
    users = [f"user-{n}" for n in range(20)]
    arms = {user: rollout.for_user("local", user).name for user in users}
    assert set(arms.values()) == {"assistant-v3", "assistant-v4"}
    wanted = {
        (): ("base", "v1"),
        ("shorter",): ("v3", "v4"),
        ("plan=free",): ("v2", "v2"),
        ("lists",): ("base", "v1"),
    }
    for groups, (on_champion, on_canary) in wanted.items():
        for user in users:
            source.known["local", user] = groups
            book.forget("local", user)
            await known(book, user)
            answer = await chat(gateway, user)
            assert answer.headers["x-trimtab-version"] == arms[user]
            served_name = on_canary if arms[user] == "assistant-v4" else on_champion
            assert answer.headers["x-trimtab-served-name"] == served_name


async def test_a_version_that_is_named_is_composed_for_its_user_too(
    gateway: Any, book: Book
) -> None:
    gateway.serve(Rollout(2, PLAIN, others=(COMPOSED,)))
    await known(book, "ada", "ben")
    assert await served(gateway, "ada", "assistant-v3") == "v3"
    assert await served(gateway, "ben", "assistant-v3") == "v2"
    assert await served(gateway, "ben") == "v1"


async def test_the_other_doors_and_the_counting_of_tokens_choose_alike(
    gateway: Any, book: Book
) -> None:
    await known(book, "ada", "ben", "eve")
    post = gateway.http.post
    for user in ("ada", "ben", "eve"):
        who, asked = {"metadata": {"user_id": user}}, {"model": "assistant", "messages": HELLO}
        answers = [
            await post("/v1/messages", json={**asked, **who, "max_tokens": 9}),
            await post("/v1/messages/count_tokens", json={**asked, **who}),
            await post("/v1/messages/count_tokens", json=asked, headers={"x-trimtab-user": user}),
            await post(
                "/v1/responses", json={"model": "assistant", "input": "Hello", "user": user}
            ),
        ]
        assert [one.status_code for one in answers] == [200] * 4
    found = [one["model"] for one in gateway.model.bodies]
    assert found == ["v3"] * 4 + ["v2"] * 4 + ["base"] * 4


async def test_a_reward_service_that_stands_still_or_is_away_holds_up_no_chat(
    gateway: Any, book: Book, source: MemoryGroups, clock: Clock
) -> None:
    source.go_on.clear()
    async with asyncio.timeout(5):
        assert [await served(gateway, "ada") for _ in range(3)] == ["base"] * 3
    source.away = True
    source.go_on.set()
    await settled(book)
    assert await served(gateway, "ada") == "base"
    await settled(book)
    assert book.counts == {"unknown": 4, "failed": 2}
    source.away = False
    await known(book, "ada")
    source.away = True
    # What was known last goes on for a while.
    clock.now = 3_599.0
    assert await served(gateway, "ada") == "v3"
    clock.now = 3_600.0
    assert await served(gateway, "ada") == "base"


async def test_the_erased_are_forgotten(book: Book, tmp_path: Path) -> None:
    await known(book, "ada", "ben")
    remover = GatewayRemover(
        FileSpool(tmp_path),
        lambda *_: None,
        KnownUsers(no_personas(), book, NobodysGroups()).forget,
    )
    with Database("sqlite://", TABLES).begin() as transaction:
        remover.remove_rows(Erasure("e1", "local", "ada"), transaction)
    assert book.of("local", "ada") == ()
    assert book.of("local", "ben") == (UNKNOWN, "plan=free")


async def test_without_a_reward_service_nobodys_groups_are_known_which_is_said_once(
    start_gateway: Start, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "services.gateway")
    book: Book = UserCache("groups", NobodysGroups().groups, (), clock, Keeping(60.0, 60.0, 100))
    task = asyncio.create_task(book.run())
    async with start_gateway(tmp_path / "spool", groups=book) as gateway:
        assert await served(gateway, "ada") == "base"
        await settled(book)
        assert caplog.records == []
        gateway.serve(Rollout(1, COMPOSED))
        for user in ("ada", "ben", "ada"):
            assert await served(gateway, user) == "base"
            await settled(book)
    task.cancel()
    (said,) = caplog.records
    assert "TRIMTAB_REWARD_ADDRESS is empty" in said.getMessage()


async def test_over_grpc_the_learnt_group_comes_first_and_strangers_have_none() -> None:
    service = RewardService()
    for number, user in enumerate(("ada", "ben")):
        service.turn(2 * number, "user", "Hi?", metadata={"segment.plan": "free"}, user=user)
    with service.database.begin() as transaction:
        service.people(transaction).divide("local", Division("r-v1", (Taste("shorter"),)))
    service.drain()
    service.correct("local", "ben", "shorter", {"region": "eu"}, "ben", "I said so")

    async def calls(channel: grpc.aio.Channel) -> None:
        groups = RewardGroups(channel)
        assert await groups.groups("local", "ada") == (UNKNOWN, "plan=free")
        assert await groups.groups("local", "ben") == ("shorter", "plan=free", "region=eu")
        assert await groups.groups("local", "eve") == ()
        assert await groups.groups("other", "ada") == ()

    await serve_channel(service, calls)


async def test_a_reward_service_that_is_away_is_told() -> None:
    async with aio_channel("127.0.0.1:1") as channel:
        with pytest.raises(Unavailable):
            await RewardGroups(channel).groups("local", "ada")
