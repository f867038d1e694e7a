"""In-memory twins of what a run needs from outside, for unit tests. Each records its calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from services.retrain.domain.datasheet import describe
from services.retrain.domain.policies import Policy
from services.retrain.domain.report import Report
from services.retrain.domain.runs import Run
from services.retrain.domain.snapshots import Selection, Snapshot, digest_of
from services.retrain.domain.training import Trained, TrainingPlan, TrainingStep
from services.retrain.ports import Candidate, Contest, Evaluated, Progress, Waiting, never
from shared.language.errors import Cancelled, FailedPrecondition, NotFound
from shared.language.estimates import Estimate
from shared.language.examples import Example
from shared.language.groups import Composition
from shared.language.pairs import Pair
from shared.language.policies import ASSISTANT, PolicyKey, version_name


@dataclass
class MemorySnapshots:
    kept: dict[str, Selection] = field(default_factory=dict)

    def keep(self, selection: Selection) -> Snapshot:
        digest = digest_of(selection)
        self.kept[digest] = selection
        return describe(selection, self.place_of(digest))

    def held_out(self, snapshot: Snapshot) -> list[Pair]:
        return list(self.kept[snapshot.digest].held_out)

    def taught(self, snapshot: Snapshot) -> list[Pair]:
        if snapshot.digest not in self.kept:
            raise NotFound(f"snapshot {snapshot.digest} is not kept any more")
        return list(self.kept[snapshot.digest].train)

    def place_of(self, digest: str) -> str:
        return f"memory/{digest}"


@dataclass
class MemoryTrainer:
    """`trained` lists the trainings that were really done, by run and objective; `plans`: theirs. Each
    says that it cut `counts`."""

    counts: dict[str, int] = field(default_factory=dict)
    made: dict[str, Trained] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)
    plans: list[TrainingPlan] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def train(
        self,
        run: Run,
        plan: TrainingPlan,
        progress: Progress,
        is_stopped: Callable[[], bool],
        gives_way: Callable[[], bool] = never,
    ) -> Trained:
        key = f"{run.run}/{plan.objective}"
        if is_stopped():
            raise Cancelled("training was stopped")
        if key not in self.made:
            self.trained.append(key)
            self.plans.append(plan)
            progress(0.5, "half of it")
            steps = tuple(TrainingStep(n, 0.5, 1.0, 1.0, 2.0, 0.1, 1.0) for n in (1, 2, 3))
            self.made[key] = Trained(f"adapters/{key}", steps, 1.0, self.counts)
        return self.made[key]

    def cancel(self, run: str) -> None:
        self.cancelled.append(run)

    def keep_only(self, runs: Collection[str]) -> None:
        self.made = {key: one for key, one in self.made.items() if key.partition("/")[0] in runs}


@dataclass
class MemoryEvaluator:
    """Gives the same figures at any requested confidence."""

    estimates: tuple[Estimate, ...] = ()
    examples: tuple[Example, ...] = ()
    polls_left: int = 1
    contests: list[Contest] = field(default_factory=list)

    def evaluate(self, contest: Contest) -> Evaluated:
        self.contests.append(contest)
        if self.polls_left:
            self.polls_left -= 1
            raise Waiting(0.5, "half of it", 0.0)
        found = (replace(one, confidence=contest.confidence) for one in self.estimates)
        return Evaluated(tuple(found), self.examples)


@dataclass
class MemoryRegistry:
    """`versions`: by request. Everything is kept by tenant: `rollouts` and `rejected` are (tenant, version)."""

    versions: dict[str, tuple[PolicyKey, Candidate]] = field(default_factory=dict)
    rollouts: list[tuple[str, str]] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    # Policies whose canary is under way.
    busy: set[PolicyKey] = field(default_factory=set)
    # The champions of policies that no longer serve the base model.
    serving: dict[PolicyKey, str] = field(default_factory=dict)
    # The champions before them, newest first.
    former: dict[PolicyKey, list[Candidate]] = field(default_factory=dict)
    deleted: set[PolicyKey] = field(default_factory=set)

    def champion(self, key: PolicyKey) -> Candidate:
        self._exists(key)
        return self.version(key.tenant, self.serving.get(key, key.first_version))

    def champions(self, key: PolicyKey, most: int) -> list[Candidate]:
        return [self.champion(key), *self.former.get(key, ())][:most]

    def settled(self, run: Run) -> tuple[Composition, str] | None:
        if run.key in self.busy:
            return None
        own = self.version(run.tenant, run.model_version)
        return self.champion(run.key).serves, own.served_name

    def register(self, request_id: str, adapter_path: str, run: Run, control: bool) -> Candidate:
        self._exists(run.key)
        number = 1 + sum(key == run.key for key, _ in self.versions.values())
        name = version_name(run.policy, number)
        made = Candidate(name, f"{run.tenant}.{name}", adapter_path)
        return self.versions.setdefault(request_id, (run.key, made))[1]

    def version(self, tenant: str, version: str) -> Candidate:
        for key, found in self.versions.values():
            if (key.tenant, found.version) == (tenant, version):
                return found
        return Candidate(version, "base", "")

    def start_rollout(self, run: Run, reason: str) -> None:
        if run.key in self.busy:
            raise FailedPrecondition("another version is a canary", reason="ROLLOUT_UNDER_WAY")
        if (rollout := (run.tenant, run.model_version)) not in self.rollouts:
            self.rollouts.append(rollout)

    def reject(self, tenant: str, version: str, reason: str) -> None:
        if (tenant, version) not in self.rejected:
            self.rejected.append((tenant, version))

    def _exists(self, key: PolicyKey) -> None:
        if key in self.deleted:
            raise NotFound(f"there is no policy {key.policy!r}", reason="POLICY_NOT_FOUND")


@dataclass
class MemoryPolicies:
    policies: dict[PolicyKey, Policy] = field(default_factory=dict)

    def known(self) -> Mapping[PolicyKey, Policy]:
        return self.policies

    def get(self, key: PolicyKey) -> Policy:
        if key not in self.policies and key.policy != ASSISTANT:
            raise NotFound(f"there is no policy {key.policy!r}", reason="POLICY_NOT_FOUND")
        return self.policies.get(key, Policy(key))


@dataclass
class MemoryRecorder:
    """Reports by the tracker's id of the run."""

    ids: dict[str, str] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)

    def record(self, run: Run, trained: dict[str, Trained]) -> str:
        return self.ids.setdefault(run.run, f"tracked-{run.run}")

    def close(self, run: Run, report: Report) -> None:
        if run.mlflow_run_id:
            self.reports[run.mlflow_run_id] = report
