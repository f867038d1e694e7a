"""Trainings and their tracking as durable jobs; answers that wait are scored."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.reward import codec
from services.reward.app.scoring import ScoreAnswers
from services.reward.app.taking import ANSWERS, WAITS
from services.reward.app.training import TRAIN_JOB, TrainModel
from services.reward.ports import (
    ModelWriter,
    RewardModel,
    RewardModels,
    ScoredAnswers,
    WaitingAnswers,
)
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.language.errors import FailedPrecondition, Internal, TrimtabError
from shared.state import operations
from shared.state.database import LOOKS_S, Database, Transaction
from shared.state.jobs import Finish, Job, Worker, enqueue
from shared.tracking.port import ExperimentTracker, TrackedRun

_log = logging.getLogger(__name__)
TRACK_JOB = "reward.track"
Clock = Callable[[], datetime]
Writer = Callable[[Transaction], ModelWriter]


@dataclass(frozen=True, slots=True)
class Trainings:
    """The training job: slow part outside, model, operation and what follows in one transaction."""

    train: TrainModel
    writer: Writer
    clock: Clock

    def perform(self, job: Job) -> Finish:
        tenant, operation = job.payload["tenant"], job.payload.get("operation", "")
        try:
            model = self.train(tenant, self.clock())
        except FailedPrecondition as error:
            refused = error
            _log.info("no reward model for %s: %s", tenant, refused)
            return lambda transaction: _fail(transaction, operation, refused)
        return lambda transaction: self._store(transaction, tenant, operation, model)

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        cause = error if isinstance(error, TrimtabError) else Internal(f"training failed: {error}")
        _fail(transaction, job.payload.get("operation", ""), cause)

    def worker(self, database: Database) -> Worker:
        return Worker(database, TRAIN_JOB, self.perform, self.abandon)

    def _store(
        self, transaction: Transaction, tenant: str, operation: str, model: RewardModel
    ) -> None:
        card = self.writer(transaction).add(tenant, model)
        payload = {"tenant": tenant, "version": card.version}
        enqueue(transaction, TRACK_JOB, f"{TRACK_JOB}:{tenant}:{card.version}", payload)
        if operation:
            response = pb.TrainRewardModelResponse(reward_model=codec.encode_card(card))
            operations.succeed(transaction, operation, response)


def _fail(transaction: Transaction, operation: str, error: TrimtabError) -> None:
    if operation:
        operations.fail(transaction, operation, error)


@dataclass(frozen=True, slots=True)
class Tracking:
    """Logs each model to the tracker as a job of its own: a tracker that is away loses no model.
    `described`: a tenant's model as a run of the tracker."""

    models: RewardModels
    writer: Writer
    tracker: ExperimentTracker
    described: Callable[[str, RewardModel], TrackedRun]

    def perform(self, job: Job) -> Finish:
        tenant, version = job.payload["tenant"], job.payload["version"]
        run_id = self.tracker.log(self.described(tenant, self.models.load(tenant, version)))
        return lambda transaction: self.writer(transaction).set_run(tenant, version, run_id)

    def abandon(self, job: Job, error: BaseException, transaction: Transaction) -> None:
        _log.error("reward model %s is kept but not tracked: %s", job.payload["version"], error)

    def worker(self, database: Database) -> Worker:
        return Worker(database, TRACK_JOB, self.perform, self.abandon, max_attempts=20)


@dataclass(frozen=True, slots=True)
class Scoring:
    """Scores waiting answers in batches, as soon as their tenant has a model."""

    database: Database
    waiting: WaitingAnswers
    scored: Callable[[Transaction], ScoredAnswers]
    score: ScoreAnswers
    clock: Clock
    batch: int = 64

    def run(self, stop: threading.Event) -> None:
        wake = threading.Event()
        self.database.after_commit(wake.set)
        while not stop.is_set():
            try:
                if not self.run_once():
                    wake.wait(LOOKS_S)
                    wake.clear()
            except Exception:  # noqa: BLE001 - logged; one bad batch must not end the loop
                _log.exception("scoring goes on after an error")
                stop.wait(1.0)

    def run_once(self) -> int:
        """How many were scored."""
        waiting = self.waiting.next(self.batch)
        if not waiting:
            return 0
        items = [(answer.answer, answer.user_id) for _, answer in waiting]
        scores, name = self.score(waiting[0][1].tenant, items)
        with self.database.begin() as transaction:
            mine = self.scored(transaction).take([number for number, _ in waiting])
            for (number, answer), score in zip(waiting, scores, strict=True):
                if number in mine:
                    transaction.emit(codec.scored_event(answer, score, name, self.clock()))
            transaction.count(ANSWERS, "waiting", WAITS, -len(mine))
            transaction.count(ANSWERS, "made", "scored", len(mine))
        return len(mine)
