"""A replica of feedback on twins: does what there is to do until nothing is left, beside others."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from infra.local.paths import REPO
from shared.state.database import Database
from tests.unit.feedback.house import House

SETTINGS = {"judge_batch": 4, "ubr_share": 1.0, "explicit_wait_s": 3600.0}


def steps_of(house: House) -> list[Callable[[], object]]:
    parts = house.parts
    return [
        parts.judge.once,
        parts.sweep.once,
        parts.late.once,
        parts.filter.once,
        *(worker.run_once for worker in parts.workers.values()),
    ]


def work(house: House, rounds: int = 3, deadline_s: float = 60.0) -> None:
    """Until so many rounds in a row found nothing: another may be about to leave something."""
    idle, ends = 0, time.monotonic() + deadline_s
    while idle < rounds and time.monotonic() < ends:
        did = [step() for step in steps_of(house)]
        idle = 0 if any(did) else idle + 1
        if idle:
            time.sleep(0.2)


def opened(url: str) -> Database:
    return Database(url, revisions=REPO / "services" / "feedback" / "migrations")


if __name__ == "__main__":
    work(House(opened(sys.argv[1]), **SETTINGS))
