"""What retrain needs from outside: state, snapshots, training, the other services."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from services.retrain.domain.runs import Run
from services.retrain.domain.snapshots import Selection, Snapshot
from services.retrain.domain.training import Trained, TrainingPlan
from shared.language.estimates import Estimate
from shared.language.pairs import Pair


class Waiting(Exception):
    """Raised by a step whose time has not come: progress is shown, and it is taken up again."""

    def __init__(self, progress: float, words: str, delay_s: float = 1.0) -> None:
        super().__init__(words)
        self.progress, self.words, self.delay_s = progress, words, delay_s


class Session(Protocol):
    """One transaction over the service's state."""

    def run(self, run: str) -> Run | None: ...

    def by_request(self, request_id: str) -> Run | None: ...

    def runs(self, below: int | None, most: int) -> list[Run]:
        """Newest first."""

    def under_way(self) -> Run | None:
        """The oldest run that has not ended."""

    def next_number(self) -> int: ...

    def put(self, run: Run) -> None:
        """Writes the run and its operation; tells retrain.completed.v1 when it has ended."""

    def add_pair(self, pair: Pair) -> bool:
        """False if it is there already."""

    def pairs(self) -> tuple[list[Pair], int]:
        """All of them, and the place of the newest."""

    def train_pairs_after(self, place: int) -> int:
        """How many pairs of users that are not held out came after `place`."""

    def set_persona(self, user: str, text: str, version: int) -> None: ...

    def personas(self) -> dict[str, str]: ...


class Store(Protocol):
    def begin(self) -> AbstractContextManager[Session]: ...

    def read(self) -> AbstractContextManager[Session]:
        """To look only: nobody is told of a commit."""


class Snapshots(Protocol):
    """Immutable, by digest."""

    def keep(self, selection: Selection) -> Snapshot:
        """Keeping the same again changes nothing."""

    def held_out(self, snapshot: Snapshot) -> list[Pair]: ...

    def place_of(self, digest: str) -> str: ...


Progress = Callable[[float, str], None]


class PolicyTrainer(Protocol):
    def train(
        self,
        run: str,
        snapshot: Snapshot,
        plan: TrainingPlan,
        progress: Progress,
        is_stopped: Callable[[], bool],
    ) -> Trained:
        """Goes on from its checkpoint; the same run and plan again give what was made. Raises
        Cancelled within a second once `is_stopped`."""


@dataclass(frozen=True, slots=True)
class Candidate:
    version: str
    served_name: str
    adapter_path: str


@dataclass(frozen=True, slots=True)
class Contest:
    """Whom to evaluate against whom, on which held-out pairs."""

    request_id: str
    candidate: Candidate
    champion: Candidate
    controls: tuple[Candidate, ...]
    held_out: tuple[Pair, ...]


class Evaluator(Protocol):
    def evaluate(self, contest: Contest) -> tuple[Estimate, ...]:
        """Raises Waiting while it is under way. Repeating does not repeat the work."""


class VersionRegistry(Protocol):
    def champion(self) -> Candidate: ...

    def register(
        self, request_id: str, adapter_path: str, run: Run, control: bool
    ) -> Candidate: ...

    def version(self, version: str) -> Candidate: ...

    def start_rollout(self, request_id: str, version: str, reason: str) -> None:
        """FailedPrecondition with reason ROLLOUT_UNDER_WAY while another one is."""

    def reject(self, version: str, reason: str) -> None: ...


class RunRecorder(Protocol):
    """The record of experiments. May be away: nothing depends on it."""

    def record(self, run: Run, trained: dict[str, Trained]) -> str:
        """Its id of the run; empty when it is away."""

    def close(self, run: Run) -> None: ...
