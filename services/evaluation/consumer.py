"""Durable jobs: evaluations, and their way into the tracker."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from services.evaluation import codec
from services.evaluation.adapters.sql_store import SqlEvaluations, finish_evaluation, set_run
from services.evaluation.app import EvaluateVersion
from services.evaluation.domain import Evaluation
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2 as pb
from shared.language.errors import Internal, TrimtabError
from shared.state import operations
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker, enqueue
from shared.tracking.port import ExperimentTracker, TrackedRun

_log = logging.getLogger(__name__)
EVALUATE_JOB, TRACK_JOB, STAGE = "evaluation.evaluate", "evaluation.track", "evaluation"


def operation_name(evaluation: str) -> str:
    return f"operations/evaluate-{evaluation}"


@dataclass(frozen=True, slots=True)
class OperationProgress:
    """Says in the operation how far its evaluation has come."""

    database: Database
    evaluation: str

    def say(self, step: str, share: float) -> None:
        name = f"evaluations/{self.evaluation}"
        metadata = pb.EvaluateMetadata(evaluation=name, step=step, progress=share)
        with self.database.begin() as tx:
            operations.progress(tx, operation_name(self.evaluation), metadata)


@dataclass(frozen=True, slots=True)
class Evaluations:
    """The evaluation job. Suites keep their figures as they come; the end is one transaction."""

    database: Database
    evaluate: EvaluateVersion
    clock: Callable[[], datetime]

    def perform(self, job: Job) -> Finish:
        evaluation = job.payload["evaluation"]
        tenant, asked = SqlEvaluations(self.database).request(evaluation)
        request = codec.decode_request(evaluation, tenant, pb.EvaluateRequest.FromString(asked))
        self.evaluate(request, OperationProgress(self.database, evaluation))
        return lambda tx: self._finish(tx, evaluation)

    def abandon(self, job: Job, error: BaseException, tx: Transaction) -> None:
        cause = error if isinstance(error, TrimtabError) else Internal(f"it failed: {error!r}")
        operations.fail(tx, operation_name(job.payload["evaluation"]), cause)
        tx.count(STAGE, "waiting", "UNDER_WAY", -1)
        tx.count(STAGE, "dropped", cause.reason)

    def worker(self) -> Worker:
        # Two at once would only make both slower.
        return Worker(self.database, EVALUATE_JOB, self.perform, self.abandon, threads=1)

    def _finish(self, tx: Transaction, evaluation: str) -> None:
        done = finish_evaluation(tx, evaluation)
        response = pb.EvaluateResponse(evaluation=codec.encode_evaluation(done))
        operations.succeed(tx, operation_name(evaluation), response)
        tx.emit(codec.completed_event(done, self.clock()))
        tx.count(STAGE, "waiting", "UNDER_WAY", -1)
        tx.count(STAGE, "made", "evaluated")
        enqueue(tx, TRACK_JOB, f"{TRACK_JOB}:{evaluation}", {"evaluation": evaluation})


@dataclass(frozen=True, slots=True)
class Tracking:
    """Logs each finished evaluation to the tracker, again and again while it is away."""

    database: Database
    tracker: ExperimentTracker

    def perform(self, job: Job) -> Finish:
        evaluation = job.payload["evaluation"]
        evaluations = SqlEvaluations(self.database)
        tenant, _ = evaluations.request(evaluation)
        run_id = self.tracker.log(_tracked(evaluations.get(tenant, evaluation)))
        return lambda tx: set_run(tx, evaluation, run_id)

    def abandon(self, job: Job, error: BaseException, tx: Transaction) -> None:
        _log.error("evaluation %s is not tracked: %s", job.payload["evaluation"], error)

    def worker(self) -> Worker:
        return Worker(self.database, TRACK_JOB, self.perform, self.abandon, max_attempts=20)


def _tracked(evaluation: Evaluation) -> TrackedRun:
    metrics: dict[str, float] = {}
    for figure in evaluation.figures:
        metrics[figure.name] = figure.value
        metrics[f"{figure.name}.low"] = figure.low
        metrics[f"{figure.name}.high"] = figure.high
    content = json.dumps([asdict(figure) for figure in evaluation.figures], indent=1)
    return TrackedRun(
        experiment="evaluation",
        key=f"{evaluation.tenant}/{evaluation.name}",
        name=f"{evaluation.model_version}-{evaluation.evaluation[:8]}",
        params={
            "model_version": evaluation.model_version,
            "champion_version": evaluation.champion_version,
            "reward_model": evaluation.reward_model,
        },
        metrics=metrics,
        tags={"model_version": evaluation.model_version},
        artifacts={"figures.json": content.encode()},
    )
