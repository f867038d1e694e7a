"""Conversations in memory for calls that continue by an answer's id: their bounds, and what is stored."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from services.gateway.app.histories import Histories, History
from services.gateway.domain.stored import StoredCompletion
from shared.language.errors import InvalidArgument
from shared.language.identifiers import user_id_of
from shared.language.messages import text_message
from shared.language.turns import Turn
from tests.unit.gateway.conftest import MemoryCompletions

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Hall:
    """Histories of at most 1,000 bytes, and their clock."""

    def __init__(self, within_s: float = 0.0) -> None:
        self.now = 0.0
        self.stored = MemoryCompletions()
        self.histories = Histories(
            self.stored, lambda: self.now, most_bytes=1000, within_s=within_s
        )

    def remember(self, tenant: str, name: str, size: int = 100, user: str = "") -> None:
        history = History(({"role": "user", "content": name},), user=user, size=size)
        self.histories.remember(tenant, name, f"conversation of {name}", history)

    async def knows(self, tenant: str, name: str) -> bool:
        try:
            return bool(await self.histories.of(tenant, name, "previous_response_id"))
        except InvalidArgument as error:
            assert error.reason == "PREVIOUS_RESPONSE_NOT_FOUND"
            assert error.field == "previous_response_id"
            return False

    def store(self, name: str, user_id: str = "ada") -> None:
        said: Any = {"tenant": "a", "conversation_id": "c", "user_id": user_id}
        answer = Turn(**said, index=1, message=text_message("assistant", "Hi"))
        self.stored.stored["a", name] = StoredCompletion(name, "v0", NOW, {}, {}, {}, (answer,))
        self.stored.turns = [Turn(**said, index=0, message=text_message("user", "Hello"))]


async def test_a_tenant_that_floods_loses_its_own_oldest() -> None:
    hall = Hall()
    hall.remember("quiet", "q")
    for number in range(12):
        hall.remember("loud", f"l{number}")
    assert await hall.knows("quiet", "q")
    assert [await hall.knows("loud", f"l{number}") for number in range(12)] == [False] * 3 + [
        True
    ] * 9


async def test_what_alone_is_too_large_is_not_kept() -> None:
    hall = Hall()
    hall.remember("a", "small")
    hall.remember("a", "large", size=2000)
    assert not await hall.knows("a", "large")
    hall.remember("a", "next")
    assert await hall.knows("a", "next")


async def test_an_hour_later_it_is_read_from_what_was_stored() -> None:
    hall = Hall()
    hall.remember("a", "one")
    hall.now = 3599.0
    assert await hall.knows("a", "one")
    hall.now = 3601.0
    assert not await hall.knows("a", "one")
    hall.store("one")
    found = await hall.histories.of("a", "one", "input")
    assert [one["content"] for one in found.messages] == ["Hello", "Hi"]
    assert (found.user, found.conversation) == ("ada", "c")


async def test_an_erased_users_conversations_are_forgotten() -> None:
    hall = Hall()
    for name in ("one", "two"):
        hall.remember("a", name)
        hall.remember("b", name)
    hall.histories.forget("a", {"conversation of one"})
    assert not await hall.knows("a", "one")
    assert await hall.knows("a", "two")
    assert await hall.knows("b", "one")


async def test_an_erased_user_is_forgotten_before_anything_is_stored() -> None:
    hall = Hall()
    hall.remember("a", "one", user="auth0|ada")
    hall.remember("a", "two", user="bob")
    hall.histories.forget_user("a", user_id_of("auth0|ada"))
    assert [await hall.knows("a", name) for name in ("one", "two")] == [False, True]


async def test_an_answer_of_another_gateway_is_found_once_it_is_stored() -> None:
    hall = Hall(within_s=5.0)
    looking = asyncio.create_task(hall.knows("a", "one"))
    await asyncio.sleep(0)
    assert not looking.done()
    hall.store("one")
    assert await looking


async def test_other_tenants_answers_are_not_found() -> None:
    hall = Hall()
    hall.remember("a", "one")
    assert not await hall.knows("b", "one")


@pytest.mark.parametrize("user", ["anonymous-0123456789abcdef", "ada"])
async def test_a_user_without_a_name_is_not_named_later(user: str) -> None:
    hall = Hall()
    hall.store("one", user)
    found = await hall.histories.of("a", "one", "input")
    assert found.user == ("" if user.startswith("anonymous-") else user)
