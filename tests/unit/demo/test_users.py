"""Simulated users: what they send follows from the answers alone, and every call is in the book."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.demo.population import Population, load
from infra.demo.users import Answer, Book, Crowd, FailedCall

TEXT = """
seed = 5
users = 4
requests = ["a?", "b?", "c?"]
kept_back = 0
[traffic]
concurrency = 2
[behaviour]
requests_per_conversation = [1, 1]
complain = 1.0
complain_anyway = 0.0
thank = 1.0
next_request = 0.0
[[tastes]]
name = "any"
share = 1.0
[shift]
after = 0.5
[[shift.tastes]]
name = "brief"
share = 1.0
max_words = 3
[wordings]
thanks = ["thanks"]
[wordings.complaints]
max_words = ["at most {n}"]
"""


class Echo:
    """Answers with five words; fails for the user it is told to."""

    def __init__(self, book: Book, broken: str = "") -> None:
        self.asked: list[tuple[str, bool]] = []
        self._book, self._broken = book, broken

    async def ask(
        self,
        who: tuple[str, str, str],
        messages: list[dict[str, str]],
        closing: bool,
        segments: Mapping[str, str],
    ) -> Answer | None:
        await asyncio.sleep(0)
        phase, _, user = who
        if self._broken and user.endswith(self._broken):
            self._book.failures.append(FailedCall(phase, user, "down"))
            return None
        self.asked.append((messages[-1]["content"], closing))
        self._book.calls[phase, "v0"] += 1
        return Answer("one two three four five", "v0", 0.0)


@pytest.fixture
def population(tmp_path: Path) -> Population:
    file = tmp_path / "population.toml"
    file.write_text(TEXT)
    return load(file)


async def play(population: Population, shifted: bool, broken: str = "") -> tuple[Echo, Book]:
    book = Book()
    echo = Echo(book, broken)
    crowd = Crowd(population, echo, book, "p")  # type: ignore[arg-type]
    crowd.pace.shifted, crowd.pace.end = shifted, 8
    await crowd.run()
    assert (crowd.begun, crowd.finished) == (8, 8)
    return echo, book


async def test_content_users_thank(population: Population) -> None:
    echo, book = await play(population, shifted=False)
    assert [said for said, closing in echo.asked if closing] == ["thanks"] * 8
    assert {(one.act, one.broken) for one in book.exchanges} == {("thank", "")}
    assert book.answered == 16


async def test_a_broken_taste_is_complained_of_once(population: Population) -> None:
    echo, book = await play(population, shifted=True)
    assert [said for said, closing in echo.asked if closing] == ["At most 3"] * 8
    assert {(one.act, one.broken, one.words) for one in book.exchanges} == {
        ("complain", "max_words", 5)
    }
    assert book.recent_broken() == "8 of the last 8 answers broke a taste"


async def test_a_failed_call_ends_the_conversation_and_is_kept(population: Population) -> None:
    _, book = await play(population, shifted=False, broken="u001")
    assert [failure.user for failure in book.failures] == ["p-u001", "p-u001"]
    assert len(book.exchanges) == 6
    assert len(book.conversations) == 8


async def test_a_stopped_crowd_begins_nothing_more(population: Population) -> None:
    book = Book()
    crowd = Crowd(population, Echo(book), book, "p")  # type: ignore[arg-type]
    crowd.pace.interval_s = 60.0
    running = asyncio.create_task(crowd.run())
    await asyncio.sleep(0)
    crowd.stop()
    await asyncio.wait_for(running, 5.0)
    assert crowd.begun == 0
