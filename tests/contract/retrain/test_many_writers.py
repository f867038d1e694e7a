"""Two of everything on one database, as threads and as processes: nothing is lost, nothing counts twice."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.retrain.domain.runs import State
from services.retrain.jobs import walk_runs
from tests.contract.state import opened
from tests.unit.retrain.house import House

ROUNDS = 60


@pytest.fixture
def houses(database_url: str) -> Iterator[tuple[House, House]]:
    with opened("retrain", database_url) as one, opened("retrain", database_url) as other:
        yield House(one), House(other)


def under_way(house: House) -> str:
    """A run that is being trained."""
    house.mine()
    house.start("r1", "ann")
    return house.walk(until=lambda run: run.state == State.TRAIN).run


def show(house: House, run: str) -> None:
    """What the runner writes again and again while it trains."""
    as_it_was = house.get(run)
    for n in range(ROUNDS):
        house.runner._show(as_it_was, n / ROUNDS, f"step {n}")


def test_a_wish_to_cancel_is_kept_while_the_runner_saves(houses: tuple[House, House]) -> None:
    one, other = houses
    run = under_way(one)
    with ThreadPoolExecutor(2) as threads:
        saving = threads.submit(show, one, run)
        cancelled = threads.submit(other.cancel, run)
        cancelled.result()
        saving.result()
    assert one.get(run).is_cancelling
    one.runner.advance(lambda: False)
    assert other.get(run).state == State.CANCELLED
    show(one, run)  # a runner that had not heard of it yet
    assert other.get(run).state == State.CANCELLED


SHOW = """
import sys
from tests.contract.retrain.test_many_writers import House, opened, show
with opened("retrain", sys.argv[1]) as database:
    show(House(database), sys.argv[2])
"""


def test_a_wish_to_cancel_is_kept_while_another_process_saves(database_url: str) -> None:
    with opened("retrain", database_url) as database:
        house = House(database)
        run = under_way(house)
        saving = subprocess.Popen([sys.executable, "-c", SHOW, database_url, run])
        while not house.get(run).progress_words.startswith("step") and saving.poll() is None:
            threading.Event().wait(0.01)
        house.cancel(run)
        assert saving.wait(60) == 0
        assert house.get(run).is_cancelling


def test_the_same_request_to_two_at_once_is_one_run(houses: tuple[House, House]) -> None:
    with ThreadPoolExecutor(8) as threads:
        begun = [threads.submit(houses[n % 2].start, f"r{n // 4}", "ann") for n in range(16)]
        runs = [one.result() for one in begun]
    assert len({run.run for run in runs}) == 4
    assert sorted({run.number for run in runs}) == [1, 2, 3, 4]


def test_attempts_of_two_at_once_are_all_counted(houses: tuple[House, House]) -> None:
    def attempt(n: int) -> int:
        with houses[n % 2].store.begin() as session:
            return session.attempt("local", "assistant-v0", f"run-{n // 2}")

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(attempt, range(16)))
    assert found[::2] == found[1::2]
    assert sorted(found[::2]) == list(range(1, 9))


def test_one_replica_at_a_time_walks_a_run(houses: tuple[House, House]) -> None:
    """On PostgreSQL; on SQLite one process owns the file."""
    one, other = houses
    if one.database.engine.dialect.name == "sqlite":
        return
    one.mine()
    one.start("r1", "ann")
    inside, stop, most = [], threading.Event(), []
    real = one.runner.__class__.advance

    def advance(runner: object, is_stopping: object) -> float | None:
        inside.append(threading.get_ident())
        most.append(len(inside))
        threading.Event().wait(0.005)
        try:
            return real(runner, is_stopping)  # type: ignore[arg-type]
        finally:
            inside.remove(threading.get_ident())

    with pytest.MonkeyPatch.context() as patched, ThreadPoolExecutor(2) as threads:
        patched.setattr(one.runner.__class__, "advance", advance)
        other.evaluator, other.registry, other.trainer = one.evaluator, one.registry, one.trainer
        other.snapshots = one.snapshots
        object.__setattr__(one.evaluator, "polls_left", 5)
        for house in (one, other):
            house.runner = house.new_runner()
            body = walk_runs(house.database, house.runner, threading.Event())
            threads.submit(body, stop)
        deadline = threading.Event()
        for _ in range(1000):
            if one.runs()[0].has_ended:
                break
            deadline.wait(0.02)
        stop.set()
    assert one.runs()[0].state == State.SUCCEEDED
    assert max(most) == 1
    assert len(one.registry.versions) == 2
