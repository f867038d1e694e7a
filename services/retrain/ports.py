"""What retrain needs from outside: state, snapshots, training, the other services."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from services.retrain.domain.runs import Run
from services.retrain.domain.snapshots import Persona, Selection, Snapshot
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

    def attempt(self, champion: str, run: str) -> int:
        """The how-manieth candidate is held against this champion with this run, from 1: the same for the
        same run, whenever it is asked."""

    def runs_of(self, digests: Collection[str]) -> list[Run]:
        """The runs of these snapshots, oldest first."""

    def add_pair(self, pair: Pair) -> bool:
        """False if it is there already."""

    def pairs(self, most: int) -> list[Pair]:
        """The newest by their time, newest first."""

    def pairs_of(self, tenant: str, conversation_id: str) -> list[Pair]:
        """In the order in which they came."""

    def newest_pair(self) -> int:
        """The place of the pair that came last; 0 before the first."""

    def pairs_seen(self) -> int:
        """The newest place that any snapshot could see."""

    def train_pairs_after(self, place: int, most: int) -> int:
        """How many pairs of users that are not held out came after `place`; counted up to `most`."""

    def set_persona(self, persona: Persona) -> None:
        """A newer version stays."""

    def personas(self, users: Collection[str]) -> dict[str, str]:
        """The texts of those of the users (tenant/user) who have one."""


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

    def keep_only(self, runs: Collection[str]) -> None:
        """Forgets what training left of all other runs: their adapters are placed by then, or never will be."""


@dataclass(frozen=True, slots=True)
class Candidate:
    version: str
    served_name: str
    adapter_path: str


@dataclass(frozen=True, slots=True)
class Contest:
    """Whom to evaluate against whom, on which held-out pairs, with intervals of which confidence."""

    request_id: str
    candidate: Candidate
    champion: Candidate
    controls: tuple[Candidate, ...]
    held_out: tuple[Pair, ...]
    confidence: float


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
