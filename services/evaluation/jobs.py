"""Durable jobs: run an evaluation, and log it to the tracker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.evaluation.app.evaluating import EvaluateVersion
from services.evaluation.app.evaluations import tracked
from services.evaluation.ports import EVALUATE_JOB, TRACK_JOB, Session, Store
from shared.language.errors import Internal, TrimtabError
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker
from shared.tracking.port import ExperimentTracker

_log = logging.getLogger(__name__)
# How long an evaluation may take before another replica assumes that it died.
_LEASE_S = 3600.0
SessionOf = Callable[[Transaction], Session]


@dataclass(frozen=True, slots=True)
class OperationProgress:
    """Shows an evaluation's progress in its operation."""

    store: Store
    evaluation: str

    def say(self, step: str, share: float) -> None:
        with self.store.begin() as session:
            session.show(self.evaluation, step, share)


@dataclass(frozen=True, slots=True)
class Evaluating:
    """The evaluation job. Suites store their estimates as they come; the end is one transaction."""

    database: Database
    store: Store
    session_of: SessionOf
    evaluate: EvaluateVersion
    clock: Callable[[], datetime]

    def perform(self, job: Job) -> Finish:
        evaluation = job.payload["evaluation"]
        with self.store.read() as session:
            request = session.request(evaluation)
        self.evaluate(request, OperationProgress(self.store, evaluation))
        return lambda transaction: self.session_of(transaction).finish(evaluation, self.clock())

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        cause = error if isinstance(error, TrimtabError) else Internal(f"it failed: {error!r}")
        self.session_of(transaction).fail(job.payload["evaluation"], cause)

    def worker(self) -> Worker:
        # Two at the same time would only slow each other down. A late attempt at the gate asks many
        # prompts.
        return Worker(
            self.database, EVALUATE_JOB, self.perform, self.abandon, threads=1, lease_s=_LEASE_S
        )


@dataclass(frozen=True, slots=True)
class Tracking:
    """Logs each finished evaluation to the tracker, and retries while the tracker is unavailable."""

    database: Database
    store: Store
    session_of: SessionOf
    tracker: ExperimentTracker

    def perform(self, job: Job) -> Finish:
        name = job.payload["evaluation"]
        with self.store.read() as session:
            evaluation = session.evaluation(name)
        run_id = self.tracker.log(tracked(evaluation))
        return lambda transaction: self.session_of(transaction).set_run(name, run_id)

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        _log.error(
            "evaluation %s was not logged to the tracker: %s", job.payload["evaluation"], error
        )

    def worker(self) -> Worker:
        return Worker(self.database, TRACK_JOB, self.perform, self.abandon, max_attempts=20)
