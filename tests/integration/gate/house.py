"""Retrain, evaluation and registry by their own code in one process, over the real vLLM. Left out is what lies
between them: calls and topics."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from services.evaluation import codec as evaluation_codec
from services.evaluation.adapters.memory import ScriptedScorer
from services.evaluation.adapters.sql_results import SqlAnswers, SqlResults
from services.evaluation.adapters.sql_session import SqlSession as EvaluationSession
from services.evaluation.adapters.subprocess_logprobs import SubprocessLogprobs
from services.evaluation.adapters.tables import METADATA as EVALUATIONS
from services.evaluation.adapters.vllm_policy import VllmPolicy
from services.evaluation.app.evaluating import EvaluateVersion
from services.evaluation.app.evaluations import Evaluations
from services.evaluation.domain import SuiteLimits
from services.evaluation.jobs import Evaluating
from services.evaluation.ports import Bench
from services.registry.adapters.adapter_folder import AdapterFolder
from services.registry.adapters.memory import MemoryModels
from services.registry.adapters.sql_session import SqlSession as RegistrySession
from services.registry.adapters.tables import METADATA as VERSIONS
from services.registry.adapters.vllm_fleet import VllmFleet
from services.registry.app.keeping import Keeping
from services.registry.app.proving import Proving
from services.registry.app.registry import Registry
from services.registry.domain.keeping import KeepingRules
from services.registry.domain.rollouts import RolloutRules
from services.registry.domain.versions import Naming, Registration, Version
from services.retrain.adapters.memory import MemoryPolicies, MemoryRecorder
from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.adapters.sql_session import SqlSession as RetrainSession
from services.retrain.adapters.tables import METADATA as RUNS
from services.retrain.app.retrain import Retrain
from services.retrain.app.runner import Runner
from services.retrain.codec import encode_contest
from services.retrain.domain.duplicates import Likeness
from services.retrain.domain.rules import Rules
from services.retrain.domain.runs import Run
from services.retrain.domain.selection import Caps
from services.retrain.domain.training import Trained, TrainingPlan, TrainingStep
from services.retrain.ports import Candidate, Contest, Evaluated
from shared.language.pairs import Pair
from shared.language.policies import PolicyKey
from shared.state.database import Database
from shared.state.sessions import SqlStore

Adapters = dict[str, str]


def now() -> datetime:
    return datetime.now(UTC)


# One takes some two minutes on two cores.
_EVALUATED_WITHIN_S = 900.0
HOME = PolicyKey("local")


class MadeBefore:
    """A PolicyTrainer that gives the adapter of `path`, whatever the pairs."""

    path = ""

    def train(self, run: Run, plan: TrainingPlan, *_: object) -> Trained:
        return Trained(self.path, (TrainingStep(1, 0.5, 0.0, 0.0, 2.0, 0.1, 1.0),), 1.0)

    def cancel(self, run: str) -> None:
        """Nothing trains."""

    def keep_only(self, runs: object) -> None:
        """The test's adapters stay."""


class SharedAnswers(SqlAnswers):
    """The base model is asked once for both evaluations, which are of minutes each. The service asks anew."""

    def known(self, evaluation: str, version: str, keys: Sequence[str]) -> dict[str, str]:
        return super().known(_asked_in(evaluation, version), version, keys)

    def keep(self, evaluation: str, version: str, answers: Mapping[str, str]) -> None:
        super().keep(_asked_in(evaluation, version), version, answers)


def _asked_in(evaluation: str, version: str) -> str:
    return "all" if version == HOME.first_version else evaluation


class Evaluator:
    """The evaluation service. Its judge's rule is: the fewer words the better, which is what a model that has
    collapsed is best at."""

    def __init__(self, base_model: Path, replicas: list[str]) -> None:
        database = Database("sqlite://", EVALUATIONS)
        store = SqlStore(database, EvaluationSession)
        bench = Bench(
            VllmPolicy(replicas),
            SubprocessLogprobs(base_model),
            ScriptedScorer(lambda text: -float(len(text.split()))),
            SharedAnswers(database),
            SqlResults(database),
            # The gate's verdict on a good adapter is a matter of chance as long as answers are few: asked this
            # many, the interval is so narrow that chance hardly matters. As in the demo, answers are cut early.
            SuiteLimits(prompts=72, answer_tokens=72, refusal_tokens=24),
        )
        self._app = Evaluations(store, now)
        evaluate = EvaluateVersion(bench)
        self._worker = Evaluating(database, store, EvaluationSession, evaluate, now).worker()

    def evaluate(self, contest: Contest) -> Evaluated:
        asked = encode_contest(contest)
        self._app.start(evaluation_codec.decode_request(contest.request_id, "local", asked))
        deadline = time.monotonic() + _EVALUATED_WITHIN_S
        # As the service does: when serving does not answer, the suite is asked again.
        while not (evaluation := self._app.get("local", contest.request_id)).done:
            assert time.monotonic() < deadline, evaluation
            if not self._worker.run_once():
                time.sleep(0.2)
        return Evaluated(evaluation.estimates, evaluation.examples)


class Versions:
    """The registry service."""

    def __init__(self, root: Path, base_model: Path, base_name: str, replicas: list[str]) -> None:
        store = SqlStore(Database("sqlite://", VERSIONS), RegistrySession)
        folder = AdapterFolder(root, {base_name: base_model})
        proving = Proving(store, folder, VllmFleet(replicas), 0.05)
        models, naming = MemoryModels(), Naming(HOME.tenant)
        keeping = Keeping(store, folder, models, proving, KeepingRules(), now)
        self.app = Registry(store, folder, models, proving, RolloutRules(), naming, now, keeping)
        self.app.open(base_name)

    def champion(self, key: PolicyKey) -> Candidate:
        return _candidate(self.app.rollout(key)[1])

    def champions(self, key: PolicyKey, most: int) -> list[Candidate]:
        return [self.champion(key), *map(_candidate, self.app.former(key, most - 1))]

    def version(self, tenant: str, version: str) -> Candidate:
        return _candidate(self.app.get(tenant, version))

    def register(self, request_id: str, adapter_path: str, run: Run, control: bool) -> Candidate:
        asked = Registration(HOME, request_id, adapter_path, run=run.run, control=control)
        return _candidate(self.app.register(asked))

    def start_rollout(self, run: Run, reason: str) -> None:
        self.app.start_rollout(run.tenant, run.run, run.model_version, 0.5, "retrain", reason)

    def reject(self, tenant: str, version: str, reason: str) -> None:
        self.app.reject(tenant, version, "retrain", reason)


class House:
    def __init__(
        self, folder: Path, base_model: Path, versions: Versions, replicas: list[str]
    ) -> None:
        self.versions, self.trainer = versions, MadeBefore()
        store = SqlStore(Database("sqlite://", RUNS), RetrainSession)
        # Each pair is of a user to train on and of one who is held out: there are too few requests for both.
        caps = Caps(likeness=Likeness(of_held_out=2.0))
        rules = Rules(train_control=False, caps=caps)
        self.app = Retrain(
            store, rules, now, MemoryPolicies(), lambda key: versions.champion(key).version
        )
        self.runner = Runner(
            store=store,
            snapshots=ParquetSnapshots(str(folder)),
            trainer=self.trainer,
            evaluator=Evaluator(base_model, replicas),
            registry=versions,
            recorder=MemoryRecorder(),
            clock=now,
        )

    def learn(self, pairs: list[Pair]) -> None:
        with self.app.store.begin() as session:
            for one in pairs:
                session.add_pair(one)

    def run_with(self, adapter: str) -> Run:
        """A run, from its start to its end, whose training gave this adapter."""
        self.trainer.path = adapter
        run = self.app.start(PolicyKey("local"), adapter, "a test")
        while not run.has_ended:
            self.runner.advance(lambda: False)
            run = self.app.get(run.tenant, run.run)
        return run


def _candidate(version: Version) -> Candidate:
    return Candidate(version.version, version.served_name, version.adapter_path)
