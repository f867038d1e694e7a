"""In-memory twins of what a run needs from outside, for unit tests. Each records its calls."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from services.retrain.domain.runs import Run
from services.retrain.domain.selection import describe
from services.retrain.domain.snapshots import Selection, Snapshot, digest_of
from services.retrain.domain.training import Trained, TrainingPlan, TrainingStep
from services.retrain.ports import Candidate, Contest, Progress, Waiting
from shared.language.errors import Cancelled, FailedPrecondition
from shared.language.estimates import Estimate
from shared.language.pairs import Pair


@dataclass
class MemorySnapshots:
    kept: dict[str, Selection] = field(default_factory=dict)

    def keep(self, selection: Selection) -> Snapshot:
        digest = digest_of(selection)
        self.kept[digest] = selection
        return describe(selection, self.place_of(digest))

    def held_out(self, snapshot: Snapshot) -> list[Pair]:
        return list(self.kept[snapshot.digest].held_out)

    def place_of(self, digest: str) -> str:
        return f"memory/{digest}"


@dataclass
class MemoryTrainer:
    """`trained` lists the trainings that were really done, by run and objective."""

    made: dict[str, Trained] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)

    def train(
        self,
        run: str,
        snapshot: Snapshot,
        plan: TrainingPlan,
        progress: Progress,
        is_stopped: Callable[[], bool],
    ) -> Trained:
        key = f"{run}/{plan.objective}"
        if is_stopped():
            raise Cancelled("training was stopped")
        if key not in self.made:
            self.trained.append(key)
            progress(0.5, "half of it")
            steps = tuple(TrainingStep(n, 0.5, 1.0, 1.0, 2.0, 0.1, 1.0) for n in (1, 2, 3))
            self.made[key] = Trained(f"adapters/{key}", steps, 1.0)
        return self.made[key]

    def keep_only(self, runs: Collection[str]) -> None:
        self.made = {key: one for key, one in self.made.items() if key.partition("/")[0] in runs}


@dataclass
class MemoryEvaluator:
    """Gives the same figures at any requested confidence."""

    estimates: tuple[Estimate, ...] = ()
    polls_left: int = 1
    contests: list[Contest] = field(default_factory=list)

    def evaluate(self, contest: Contest) -> tuple[Estimate, ...]:
        self.contests.append(contest)
        if self.polls_left:
            self.polls_left -= 1
            raise Waiting(0.5, "half of it", 0.0)
        return tuple(replace(one, confidence=contest.confidence) for one in self.estimates)


@dataclass
class MemoryRegistry:
    versions: dict[str, Candidate] = field(default_factory=dict)
    rollouts: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    is_busy: bool = False
    serving: str = "assistant-v0"

    def champion(self) -> Candidate:
        return Candidate(self.serving, "base", "")

    def register(self, request_id: str, adapter_path: str, run: Run, control: bool) -> Candidate:
        name = f"assistant-v{len(self.versions) + 1}"
        return self.versions.setdefault(request_id, Candidate(name, name, adapter_path))

    def version(self, version: str) -> Candidate:
        known = {found.version: found for found in (self.champion(), *self.versions.values())}
        return known[version]

    def start_rollout(self, request_id: str, version: str, reason: str) -> None:
        if self.is_busy:
            raise FailedPrecondition("another version is a canary", reason="ROLLOUT_UNDER_WAY")
        if version not in self.rollouts:
            self.rollouts.append(version)

    def reject(self, version: str, reason: str) -> None:
        if version not in self.rejected:
            self.rejected.append(version)


class NoRecorder:
    """Records nothing."""

    def record(self, run: Run, trained: dict[str, Trained]) -> str:
        return ""

    def close(self, run: Run) -> None:
        """Nothing was recorded."""
