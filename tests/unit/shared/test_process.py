"""How a process ends: the time it may take is one for all of its threads, not one for each."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from shared.serving import process


class Stuck(threading.Thread):
    """Does not end, however long it is waited for; `clock` says how long that was."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self._clock = clock

    def join(self, timeout: float | None = None) -> None:
        assert timeout is not None
        self._clock[0] += timeout

    def is_alive(self) -> bool:
        return True


def test_threads_that_do_not_end_are_waited_for_together(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [100.0]
    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    process.join_all([Stuck(clock) for _ in range(20)], within_s=10.0)
    assert clock == [110.0]
    assert len(caplog.messages) == 20


def test_threads_that_end_are_waited_for_no_longer() -> None:
    threads = [threading.Thread(target=lambda: None) for _ in range(3)]
    for thread in threads:
        thread.start()
    process.join_all(threads, within_s=30.0)
    assert [thread.is_alive() for thread in threads] == [False] * 3
