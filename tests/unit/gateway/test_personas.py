"""Personas in prompts: from memory, asked for behind the chat, never in the way of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from services.gateway.adapters.erasing import GatewayRemover
from services.gateway.adapters.link_table import TABLES
from services.gateway.adapters.personas import FeedbackPersonas
from services.gateway.adapters.spool import FileSpool
from services.gateway.app.personas import with_persona
from services.gateway.app.user_cache import Keeping, UserCache
from shared.calls.client import aio_channel
from shared.calls.server import RpcServer
from shared.language.errors import Unavailable
from shared.privacy.erasure import Erasure
from shared.state.database import Database
from tests.unit.feedback.house import LONG, House

KIND = "What is known of the user: Likes it short."


class MemoryPersonas:
    """The feedback service's twin: can be away, and stand still."""

    def __init__(self) -> None:
        self.known = {("local", "ada"): "Likes it short."}
        self.asked: list[tuple[str, str]] = []
        self.away = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def persona(self, tenant: str, user_id: str) -> str:
        self.asked.append((tenant, user_id))
        await self.go_on.wait()
        if self.away:
            raise Unavailable("feedback is away")
        return self.known.get((tenant, user_id), "")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def source() -> MemoryPersonas:
    return MemoryPersonas()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def book(
    source: MemoryPersonas, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[UserCache[str]]:
    monkeypatch.setattr("services.gateway.app.user_cache._PAUSE_S", 0.0)
    made = UserCache("a persona", source.persona, "", clock, Keeping(30.0, 300.0, most=2))
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()


async def settled(book: UserCache[str]) -> None:
    async with asyncio.timeout(5):
        while book._asked:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_the_first_chat_goes_without_and_the_next_has_it(
    book: UserCache[str], source: MemoryPersonas
) -> None:
    assert book.of("local", "ada") == ""
    await settled(book)
    assert book.of("local", "ada") == "Likes it short."
    assert book.of("other", "ada") == ""
    await settled(book)
    assert source.asked == [("local", "ada"), ("other", "ada")]
    assert book.counts == {"unknown": 2, "used": 1}
    assert book.of("other", "ada") == ""
    assert book.counts["none"] == 1


async def test_it_is_asked_for_anew_and_not_used_for_ever(
    book: UserCache[str], source: MemoryPersonas, clock: Clock
) -> None:
    book.of("local", "ada")
    await settled(book)
    clock.now = 29.0
    book.of("local", "ada")
    await settled(book)
    assert len(source.asked) == 1
    source.known["local", "ada"] = "Likes it long."
    clock.now = 30.0
    assert book.of("local", "ada") == "Likes it short."
    await settled(book)
    assert book.of("local", "ada") == "Likes it long."
    source.away = True
    clock.now = 329.0
    assert book.of("local", "ada") == "Likes it long."
    clock.now = 330.0
    assert book.of("local", "ada") == ""
    await settled(book)
    assert book.counts["failed"] >= 1


async def test_the_users_of_longest_ago_make_room(
    book: UserCache[str], source: MemoryPersonas
) -> None:
    for user in ("ada", "ben", "ada", "eve", "ada", "ben"):
        book.of("local", user)
        await settled(book)
    assert [user for _, user in source.asked] == ["ada", "ben", "eve", "ben"]


async def test_a_tenant_of_many_users_keeps_nobody_waiting(
    book: UserCache[str], source: MemoryPersonas
) -> None:
    for number in range(5_000):
        book.of("flood", f"u{number}")
    book.of("local", "ada")
    await settled(book)
    assert source.asked[:2] == [("flood", "u0"), ("local", "ada")]
    assert len(source.asked) == 1_001
    assert book.of("local", "ada") == "Likes it short."


async def test_the_erased_are_forgotten_also_while_they_are_asked_for(
    book: UserCache[str], source: MemoryPersonas, tmp_path: Path
) -> None:
    book.of("local", "ada")
    await settled(book)
    database = Database("sqlite://", TABLES)
    remover = GatewayRemover(FileSpool(tmp_path), lambda *_: None, book.forget)
    with database.begin() as transaction:
        remover.remove_rows(Erasure("e1", "local", "ada"), transaction)
    assert not book._known
    source.go_on.clear()
    book.of("local", "ada")
    await asyncio.sleep(0)
    book.forget("local", "ada")
    source.go_on.set()
    await asyncio.sleep(0.01)
    assert not book._known


def test_it_stands_where_training_has_it() -> None:
    hello = {"role": "user", "content": "Hello"}
    said = "Likes it short."
    body = {"messages": [hello], "x": 1}
    assert with_persona(body, said) == {
        "messages": [{"role": "system", "content": KIND}, hello],
        "x": 1,
    }
    assert body["messages"] == [hello]
    system = {"role": "system", "content": "Be kind", "name": "n"}
    longer = {**system, "content": f"Be kind\n{KIND}"}
    assert with_persona({"messages": [system, hello]}, said) == {"messages": [longer, hello]}
    parts = {"role": "developer", "content": [{"type": "text", "text": "Be kind"}]}
    (first, _) = with_persona({"messages": [parts, hello]}, said)["messages"]
    assert first["content"] == [{"type": "text", "text": "Be kind"}, {"type": "text", "text": KIND}]
    assert with_persona({"messages": [hello]}, "") == {"messages": [hello]}


async def test_a_chat_is_sent_with_it_and_logged_without(
    start_gateway: Callable[..., Any], tmp_path: Path, book: UserCache[str]
) -> None:
    hello = [{"role": "user", "content": "Hello"}]
    async with start_gateway(tmp_path / "spool", personas=book) as gateway:
        create = gateway.openai.chat.completions.with_raw_response.create
        first = await create(model="assistant", messages=hello, user="ada")
        await settled(book)
        second = await create(model="assistant", messages=[*hello, *hello], user="ada")
        nobody = await create(model="assistant", messages=hello)
        said = [one.headers.get("x-trimtab-persona") for one in (first, second, nobody)]
        assert said == [None, "used", None]
        sent = [one["messages"] for one in gateway.model.bodies]
        assert sent == [hello, [{"role": "system", "content": KIND}, *hello, *hello], hello]
        logged = await gateway.logged()
        assert not any("known of the user" in turn.message.text for turn in logged)


async def test_a_feedback_service_that_stands_still_holds_up_no_chat(
    start_gateway: Callable[..., Any], tmp_path: Path, book: UserCache[str], source: MemoryPersonas
) -> None:
    source.go_on.clear()
    async with start_gateway(tmp_path / "spool", personas=book) as gateway:
        for _ in range(3):
            async with asyncio.timeout(5):
                await gateway.openai.chat.completions.create(
                    model="assistant", messages=[{"role": "user", "content": "Hello"}], user="ada"
                )
    assert source.asked == [("local", "ada")]
    assert book.counts == {"unknown": 3}


async def test_over_grpc_who_has_none_has_an_empty_one_and_who_is_away_is_told() -> None:
    house = House()
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please")
    house.settle()
    server = RpcServer("feedback", [house.parts.mount()])
    port = await server.start()
    async with aio_channel(f"127.0.0.1:{port}") as channel:
        personas = FeedbackPersonas(channel)
        assert await personas.persona("local", "ada") == "This user wants shorter answers."
        assert await personas.persona("local", "eve") == ""
        assert await personas.persona("other", "ada") == ""
        await server.drain()
        with pytest.raises(Unavailable):
            await personas.persona("local", "ada")
