"""Jobs at a bounded pace: the model's time is scarce, and this work may wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shared.state.jobs import Worker, waiting
from shared.state.loop import repeat
from shared.state.tables import JOBS


@dataclass(slots=True)
class Pace:
    """At most `per_minute` jobs, one at a time, and none while jobs of a kind in `yields_to` wait.
    `clock`: seconds that only grow."""

    worker: Worker
    per_minute: float
    yields_to: Sequence[str] = ()
    clock: Callable[[], float] = time.monotonic
    _next_at: float = field(default=0.0)

    def once(self) -> bool:
        """Does a job if one is due and its time has come."""
        if self.clock() < self._next_at:
            return False
        if any(waiting(self.worker.database, kind) for kind in self.yields_to):
            return False
        done = self.worker.run_once()
        if done:
            self._next_at = self.clock() + 60.0 / self.per_minute
        return done

    def rest_s(self) -> float:
        """Until the next may be done, or the first that waits is due."""
        left = self._next_at - self.clock()
        return left if left > 0 else self.worker.rest_s()

    def run(self, stop: threading.Event) -> None:
        self.worker.release()
        wake = self.worker.database.waker(JOBS)
        repeat(self.worker.kind, self.once, idle_s=self.rest_s, wake=wake)(stop)
