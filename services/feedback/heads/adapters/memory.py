"""In-memory twins of the heads' ports."""

from __future__ import annotations

from services.feedback.heads.ports import TrackedHead
from shared.language.errors import Unavailable
from shared.tracking.port import TrackedRun


class MemoryHeadTracker:
    """Keeps what it is told: runs by model, in order; and the number that bears the alias."""

    def __init__(self) -> None:
        self.runs: dict[str, list[TrackedRun]] = {}
        self.serving: dict[str, str] = {}
        self.away = False

    def log(self, model: str, run: TrackedRun) -> TrackedHead:
        self._require()
        runs = self.runs.setdefault(model, [])
        keys = [one.key for one in runs]
        if run.key not in keys:
            runs.append(run)
            keys.append(run.key)
        number = str(keys.index(run.key) + 1)
        return TrackedHead(f"run-{model}-{number}", number)

    def point(self, model: str, number: str) -> None:
        self._require()
        self.serving[model] = number

    def _require(self) -> None:
        if self.away:
            raise Unavailable("the tracker is away", reason="TRACKER_AWAY", retry_after_s=0.01)
