"""Work in a process of its own: it is woken, ends in order, and never outlives its service."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from shared.serving.aside import Aside
from tests.integration.access.processes import until

WORKER = "tests.integration.kernel.worker_aside"
SERVICE = "tests.integration.kernel.service_aside"


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "notes"
    monkeypatch.setenv("ASIDE_NOTES", str(file))
    return file


class Running:
    """An Aside in a thread of the test; what ended it is kept."""

    def __init__(self) -> None:
        self.aside, self.stop = Aside(WORKER, drain_s=20.0), threading.Event()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def process(self) -> subprocess.Popen[bytes]:
        """As soon as it was started."""
        until(lambda: self.aside._process is not None, every_s=0.001)
        assert self.aside._process is not None
        return self.aside._process

    def ended(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.aside.run(self.stop)
        except RuntimeError as error:
            self.error = error


def test_is_woken_and_ends_in_order_however_often_it_is_signalled(notes: Path) -> None:
    running = Running()
    child = psutil.Process(began(notes))
    for number in (signal.SIGINT, signal.SIGTERM):
        child.send_signal(number)
    running.aside.wake()
    until(lambda: "woken" in lines(notes))
    running.stop.set()
    until(running.ended)
    # Woken once more to see that it is to stop.
    assert sorted(lines(notes)[1:]) == ["ended", "told to stop", "woken", "woken"]
    assert lines(notes)[-1] == "ended"
    assert running.error is None
    assert not child.is_running()


def test_a_signal_to_all_in_its_first_moments_ends_it_in_order(notes: Path) -> None:
    """Before it has come to ignore them: a supervisor stops all processes of a service at once."""
    for _ in range(5):
        notes.unlink(missing_ok=True)
        running = Running()
        process = running.process()
        for number in (signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
        running.stop.set()
        until(running.ended)
        assert running.error is None
        assert "told to stop" in lines(notes)
        assert lines(notes)[-1] == "ended"


async def test_it_is_ready_once_it_works(notes: Path) -> None:
    running = Running()
    await running.aside.ready()
    assert lines(notes)[0].startswith("began ")
    running.stop.set()
    until(running.ended)


async def test_who_waits_for_one_that_is_stopped_before_it_works_waits_no_longer(
    notes: Path,
) -> None:
    running = Running()
    running.stop.set()
    async with asyncio.timeout(30):
        await running.aside.ready()
    until(running.ended)
    assert running.error is None


def test_a_worker_that_ends_by_itself_is_an_error(notes: Path) -> None:
    running = Running()
    os.kill(began(notes), signal.SIGKILL)
    until(running.ended)
    assert str(running.error) == f"{WORKER} ended with -9"
    running.aside.wake()  # nobody hears it, and nothing breaks


def test_a_service_that_is_killed_takes_its_worker_along(notes: Path) -> None:
    service = subprocess.Popen([sys.executable, "-m", SERVICE])
    child = psutil.Process(began(notes))
    assert child.ppid() == service.pid
    service.kill()
    service.wait()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert lines(notes)[1:] == []  # at once, not in order: another may take its place already


def began(notes: Path) -> int:
    """The worker's process id, once it works."""
    until(lambda: bool(lines(notes)))
    return int(lines(notes)[0].removeprefix("began "))


def lines(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []
