"""The lag beside the counts: as last seen, never waited for long, empty if the log is unavailable."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from shared.language.errors import Unavailable
from shared.log.memory import MemoryEventLog
from shared.serving.stage_api import LagMeter


class SlowLog(MemoryEventLog):
    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()
        self.away = False

    def lag(self, group: str, topics: Sequence[str]) -> dict[str, int]:
        self.told.wait(10)
        if self.away:
            raise Unavailable("the log is away")
        return dict.fromkeys(topics, 3)


def test_a_slow_log_does_not_hold_up_the_counts() -> None:
    log = SlowLog()
    meter = LagMeter(log, {"a": ["t1"], "b": ["t2"]}, fresh_s=0.0, patience_s=0.05)
    started = time.monotonic()
    assert meter() == {}
    assert time.monotonic() - started < 5
    log.told.set()
    deadline = time.monotonic() + 5
    while not (seen := meter()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen == {"t1": 3, "t2": 3}
    log.away = True
    while (seen := meter()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen == {}
