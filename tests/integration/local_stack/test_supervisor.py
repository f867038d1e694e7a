"""What the supervisor does when it is told of other programs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.programs import Program
from infra.local.supervisor import Supervisor

SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")


def program(name: str, **environment: str) -> Program:
    return Program(name, SLEEPS, environment, (), lambda: None)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path)
    yield made
    made.shutdown()


def running(supervisor: Supervisor, name: str) -> int:
    """Its pid, once it runs."""
    deadline = time.monotonic() + 20
    while supervisor.info(name)["statename"] not in ("STARTING", "RUNNING"):
        assert time.monotonic() < deadline, supervisor.info(name)
        time.sleep(0.05)
    return int(supervisor.info(name)["pid"])


def environment(pid: int) -> dict[str, str]:
    """A program's, once it has been started: a fork has its parent's until then."""
    deadline = time.monotonic() + 20
    while "SIZE" not in (found := psutil.Process(pid).environ()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def test_a_changed_part_that_ran_runs_on_with_what_is_new(supervisor: Supervisor) -> None:
    supervisor.ensure([program("kept"), program("changed", SIZE="1"), program("idle", SIZE="1")])
    supervisor.start("kept")
    supervisor.start("changed")
    kept, changed = running(supervisor, "kept"), running(supervisor, "changed")

    supervisor.ensure([program("kept"), program("changed", SIZE="2"), program("idle", SIZE="2")])

    assert running(supervisor, "kept") == kept
    anew = running(supervisor, "changed")
    assert anew != changed
    assert environment(anew)["SIZE"] == "2"
    assert not psutil.pid_exists(changed)
    assert supervisor.info("idle")["pid"] == 0
