"""The ExperimentTracker port: what was trained or measured, recorded where people compare runs.

The adapter is `shared.tracking.mlflow_tracker.MlflowTracker`, the in-memory twin `MemoryTracker`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shared.language.errors import Unavailable


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """One finished run; `artifacts` by file name.

    `key` is deterministic: a key is logged once, however often it is tried.
    """

    experiment: str
    key: str
    name: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, bytes] = field(default_factory=dict)


class ExperimentTracker(Protocol):
    def log(self, run: TrackedRun) -> str:
        """Writes the whole run and returns its id; the first run's id if `key` was logged already.

        Raises Unavailable while the tracker is unavailable: the caller keeps the run and tries again. A
        run that was cut off in the middle is written again under the same id.
        """


class MemoryTracker:
    """`go_away()` makes it behave like a server that is unreachable."""

    def __init__(self) -> None:
        self.runs: dict[str, TrackedRun] = {}
        self._ids: dict[tuple[str, str], str] = {}
        self._away = False

    def go_away(self, away: bool = True) -> None:
        self._away = away

    def log(self, run: TrackedRun) -> str:
        if self._away:
            raise Unavailable(
                "the tracker is unavailable", reason="TRACKER_AWAY", retry_after_s=5.0
            )
        run_id = self._ids.setdefault((run.experiment, run.key), f"run-{len(self._ids) + 1}")
        self.runs.setdefault(run_id, run)
        return run_id
