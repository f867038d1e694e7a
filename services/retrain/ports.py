"""What retrain needs from outside: state, snapshots, training, the other services."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from services.retrain.domain.policies import Policy
from services.retrain.domain.queue import Served
from services.retrain.domain.report import Report
from services.retrain.domain.runs import Run
from services.retrain.domain.snapshots import Persona, Selection, Snapshot
from services.retrain.domain.training import Trained, TrainingPlan
from shared.language.estimates import Estimate
from shared.language.examples import Example
from shared.language.groups import Composition
from shared.language.pairs import Pair
from shared.language.policies import PolicyKey


class Waiting(Exception):
    """Raised by a step that cannot finish yet. Its progress is shown, and it is tried again."""

    def __init__(self, progress: float, words: str, delay_s: float = 1.0) -> None:
        super().__init__(words)
        self.progress, self.words, self.delay_s = progress, words, delay_s


class Aside(Waiting):
    """Raised by a training that waits for what is not ours, such as a queue of the cluster: others go on for
    `delay_s`."""


def never() -> bool:
    return False


class Session(Protocol):
    """One transaction over the service's state: all of it or nothing."""

    def run(self, run: str) -> Run | None: ...

    def by_request(self, key: PolicyKey, request_id: str) -> Run | None: ...

    def runs(
        self, tenant: str, below: int | None, most: int, policy: str = "", under_way: bool = False
    ) -> list[Run]:
        """A tenant's, newest first: of one policy if it is named, without ended ones if `under_way`."""

    def newest(self, key: PolicyKey) -> str:
        """The id of the policy's newest run; empty if it has none."""

    def ended(self, most: int) -> list[Run]:
        """Of all tenants, newest first."""

    def under_way(self, key: PolicyKey | None = None) -> list[Run]:
        """The runs that have not ended, of one policy or of all, oldest first."""

    def served(self, keys: Collection[PolicyKey]) -> Served:
        """When the last runs of these policies and their tenants left the queue."""

    def next_number(self) -> int: ...

    def put(self, run: Run) -> None:
        """Stores the run and its operation. Publishes to retrain.completed.v1 when the run has ended."""

    def attempt(self, tenant: str, champion: str, run: str) -> int:
        """The number of this run's candidate among those compared with the tenant's champion, from 1. Always
        the same for the same run."""

    def runs_of(self, digests: Collection[str]) -> list[Run]:
        """The runs of these snapshots, oldest first."""

    def add_pair(self, pair: Pair) -> bool:
        """False if it is already there."""

    def pairs(self, key: PolicyKey, most: int) -> list[Pair]:
        """The policy's newest pairs by their time, newest first; never those of another."""

    def add_praised(self, praised: Pair) -> bool:
        """Of a praised answer (domain/praise.py). False if it is already there."""

    def drop_praised(self, tenant: str, feedback_ids: Collection[str]) -> None:
        """What was praised by these no longer is."""

    def praised(self, key: PolicyKey, most: int) -> list[Pair]:
        """The policy's newest praised answers, newest first."""

    def praised_of(self, tenant: str, conversation_id: str) -> list[Pair]:
        """Of all the tenant's policies, oldest first."""

    def pairs_of(self, tenant: str, conversation_id: str) -> list[Pair]:
        """Of all the tenant's policies, in the order in which they arrived."""

    def tenants(self) -> list[str]:
        """Those that have pairs."""

    def newest_pair(self, key: PolicyKey) -> int:
        """The place of the policy's pair that arrived last; 0 before the first."""

    def pairs_seen(self, key: PolicyKey) -> int:
        """The newest place that any snapshot of the policy has seen."""

    def train_pairs_after(self, key: PolicyKey, place: int, most: int) -> int:
        """How many pairs to train on arrived after `place`, counted up to `most`."""

    def set_persona(self, persona: Persona) -> None:
        """Ignored if a newer version is stored."""

    def personas(self, users: Collection[str]) -> dict[str, str]:
        """The texts for those of the users (tenant/user) who have a persona."""


class Policies(Protocol):
    """The registry's policies."""

    def known(self) -> Mapping[PolicyKey, Policy]:
        """All of them, as of a few seconds ago; while the registry is unavailable, the last known ones."""

    def get(self, key: PolicyKey) -> Policy:
        """Raises NotFound (POLICY_NOT_FOUND) for a policy that does not exist now, and Unavailable while the
        registry is unavailable, except for `assistant` and for policies that are still known."""


class Store(Protocol):
    def begin(self) -> AbstractContextManager[Session]: ...

    def read(self) -> AbstractContextManager[Session]:
        """Read only."""


class Snapshots(Protocol):
    """Immutable snapshots, addressed by digest."""

    def keep(self, selection: Selection) -> Snapshot:
        """Keeping the same again changes nothing."""

    def held_out(self, snapshot: Snapshot) -> list[Pair]: ...

    def taught(self, snapshot: Snapshot) -> list[Pair]:
        """What is trained on, as far as it has not been erased since. Raises NotFound if the snapshot is not
        kept any more."""

    def place_of(self, digest: str) -> str: ...


Progress = Callable[[float, str], None]


class PolicyTrainer(Protocol):
    def train(
        self,
        run: Run,
        plan: TrainingPlan,
        progress: Progress,
        is_stopped: Callable[[], bool],
        gives_way: Callable[[], bool] = never,
    ) -> Trained:
        """Trains on the run's snapshot, from its base model. Resumes from its checkpoint. The same run and plan
        give the same result, without training again. Raises Cancelled within a second once `is_stopped`, and
        FailedPrecondition (NO_SUCH_BASE) if there are no weights of the base model. What was begun may go on
        after that, until `cancel`, so that the next process finds it further on. While the cluster has not let
        it begin, and `gives_way`, it raises Aside; called again, it goes on from there."""

    def cancel(self, run: str) -> None:
        """Ends whatever still trains for the run; repeating it changes nothing. Raises Unavailable or
        PermissionDenied where it cannot be ended now."""

    def keep_only(self, runs: Collection[str]) -> None:
        """Removes what the trainings of all other runs left, folders and jobs: their adapters have been
        registered, or never will be."""


@dataclass(frozen=True, slots=True)
class Candidate:
    version: str
    served_name: str
    adapter_path: str = ""
    # What answers whom, where not everyone gets its own weights.
    composition: Composition | None = None
    # What it is told in its prompt.
    instruction: str = ""
    # Whether the probes are asked of it, as of what may serve.
    is_probed: bool = False
    adapter_digest: str = ""

    @property
    def serves(self) -> Composition:
        """What answers whom."""
        return self.composition or Composition(self.served_name)


@dataclass(frozen=True, slots=True)
class Contest:
    """Which version is compared with which, on which held-out pairs, at which confidence. `suites`: empty for
    all."""

    tenant: str
    request_id: str
    candidate: Candidate
    champion: Candidate
    controls: tuple[Candidate, ...]
    held_out: tuple[Pair, ...]
    confidence: float
    suites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluated:
    estimates: tuple[Estimate, ...]
    examples: tuple[Example, ...] = ()


class Evaluator(Protocol):
    def evaluate(self, contest: Contest) -> Evaluated:
        """Raises Waiting while the evaluation runs. Repeating the call does not repeat the work."""


class VersionRegistry(Protocol):
    """Versions are named within their tenant. Whatever is asked of a policy that no longer exists raises
    NotFound (POLICY_NOT_FOUND)."""

    def champion(self, key: PolicyKey) -> Candidate: ...

    def champions(self, key: PolicyKey, most: int) -> list[Candidate]:
        """The version that serves, then those that did before it and were not rolled back, newest first."""

    def register(
        self, request_id: str, adapter_path: str, run: Run, control: bool
    ) -> Candidate: ...

    def version(self, tenant: str, version: str) -> Candidate: ...

    def start_rollout(self, run: Run, reason: str) -> None:
        """Raises FailedPrecondition (ROLLOUT_UNDER_WAY) while another rollout of the policy is under way."""

    def reject(self, tenant: str, version: str, reason: str) -> None: ...


class RunRecorder(Protocol):
    """The record of runs in the tracker. It may be unavailable: nothing depends on it."""

    def record(self, run: Run, trained: dict[str, Trained]) -> str:
        """Returns the tracker's id of the run, always the same one; empty while it is unavailable."""

    def close(self, run: Run, report: Report) -> None:
        """The run has ended: its report is kept with it, the last one if it is closed again. A run that was not
        recorded has no report there."""
