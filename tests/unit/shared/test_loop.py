"""The one loop for all background work: it continues, rests, wakes and ends as its contract says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from shared.language.errors import Unavailable
from shared.state import loop
from shared.state.database import Database
from shared.state.loop import repeat
from shared.telemetry.metrics import LOOP_ERRORS


@contextmanager
def running(body: Callable[[threading.Event], None]) -> Iterator[threading.Event]:
    stop = threading.Event()
    thread = threading.Thread(target=body, args=(stop,), daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(5)
        assert not thread.is_alive()


class Script:
    """Returns or raises one thing after the other, then reports that there is nothing to do."""

    def __init__(self, *said: object) -> None:
        self._said = list(said)
        self.calls: list[float] = []
        self.ended = threading.Event()

    def __call__(self) -> object:
        self.calls.append(time.monotonic())
        if not self._said:
            self.ended.set()
            return 0
        said = self._said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


def test_it_is_called_again_immediately_while_it_does_something() -> None:
    script = Script(3, True, "some")
    with running(repeat("test", script, idle_s=60.0)):
        assert script.ended.wait(5)
    assert len(script.calls) == 4


def test_no_error_ends_it_and_each_pause_is_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(loop, "_LONGEST_PAUSE_S", 0.05)
    before = LOOP_ERRORS.labels("failing")._value.get()
    script = Script(ZeroDivisionError(), KeyError("x"), sa.exc.InvalidRequestError("y"), OSError())
    with running(repeat("failing", script, idle_s=0.01)):
        assert script.ended.wait(5)
    gaps = [
        later - earlier for earlier, later in zip(script.calls, script.calls[1:5], strict=False)
    ]
    assert [gap >= least for gap, least in zip(gaps, (0.02, 0.04, 0.05, 0.05), strict=True)] == [
        True
    ] * 4
    assert LOOP_ERRORS.labels("failing")._value.get() - before == 4


def test_what_is_away_is_waited_for_as_long_as_it_asks() -> None:
    before = LOOP_ERRORS.labels("waiting")._value.get()
    script = Script(Unavailable("away", retry_after_s=0.1), Unavailable("away", retry_after_s=0.1))
    with running(repeat("waiting", script, idle_s=0.01)):
        assert script.ended.wait(5)
    assert script.calls[2] - script.calls[0] >= 0.2
    assert LOOP_ERRORS.labels("waiting")._value.get() == before


def test_a_commit_that_comes_while_it_works_is_not_missed() -> None:
    """`wake` is set during the call that finds nothing: the loop must call again, not rest for a minute."""
    wake, calls = threading.Event(), Script()

    def once() -> object:
        if len(calls.calls) == 0:
            calls()
            wake.set()
            return 0
        return calls()

    with running(repeat("test", once, idle_s=60.0, wake=wake)):
        deadline = time.monotonic() + 5
        while len(calls.calls) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        wake.set()  # nor does the end wait for the minute


def test_it_wakes_by_its_table_alone() -> None:
    tables = sa.MetaData()
    mine = sa.Table("mine", tables, sa.Column("n", sa.Integer, primary_key=True))
    others = sa.Table("others", tables, sa.Column("n", sa.Integer, primary_key=True))
    database = Database("sqlite://", tables)
    waker = database.waker(mine)
    with database.begin() as transaction:
        transaction.connection.execute(others.insert().values(n=1))
    assert not waker.is_set()
    with database.begin() as transaction:
        transaction.connection.execute(mine.insert().values(n=1))
    assert waker.is_set()
    waker.clear()
    database.wake()
    assert waker.is_set()
