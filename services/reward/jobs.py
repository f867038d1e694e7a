"""Training and tracking models as durable jobs; scoring waiting answers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from services.reward import codec
from services.reward.app.scoring import ScoreAnswers
from services.reward.app.taking import ANSWERS, WAITS
from services.reward.app.training import TRAIN_JOB, TrainModel
from services.reward.people.app.learning import KeepNames, division_of
from services.reward.people.jobs import divide
from services.reward.people.ports import Memberships
from services.reward.ports import (
    GroupsOf,
    ModelWriter,
    RewardModel,
    RewardModels,
    ScoredAnswers,
    WaitingAnswers,
)
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.language.errors import FailedPrecondition, Internal, TrimtabError
from shared.state import operations
from shared.state.database import Database, Transaction
from shared.state.jobs import Finish, Job, Worker, enqueue
from shared.state.loop import repeat
from shared.telemetry.metrics import LOOP_ERRORS
from shared.tracking.port import ExperimentTracker, TrackedRun

_log = logging.getLogger(__name__)
TRACK_JOB = "reward.track"
SCORING = "reward.scoring"
Clock = Callable[[], datetime]
Writer = Callable[[Transaction], ModelWriter]


@dataclass(frozen=True, slots=True)
class Trainings:
    """The training job: it trains outside any transaction, then stores the model, ends the operation and asks
    for tracking in one."""

    train: TrainModel
    keep_names: KeepNames
    writer: Writer
    memberships: Callable[[Transaction], Memberships]
    clock: Clock

    def perform(self, job: Job) -> Finish:
        tenant, operation = job.payload["tenant"], job.payload.get("operation", "")
        try:
            model = self.keep_names(tenant, self.train(tenant, self.clock()))
        except FailedPrecondition as error:
            refused = error
            _log.info("no reward model was trained for %s: %s", tenant, refused)
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
        division = division_of(replace(model, card=card))
        divide(self.memberships(transaction), transaction, tenant, division)
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
    """The job that logs a model to the tracker. It is separate from training, so that no model is lost while
    the tracker is unavailable. `described` turns a tenant's model into a run."""

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


@dataclass(slots=True)
class Scoring:
    """Scores waiting answers, one batch per tenant in turn, for tenants that have a model. If a tenant's
    answers cannot be scored, it is skipped for `rest_s`; the others continue."""

    database: Database
    waiting: WaitingAnswers
    scored: Callable[[Transaction], ScoredAnswers]
    score: ScoreAnswers
    groups: GroupsOf
    clock: Clock
    batch: int = 64
    rest_s: float = 30.0
    _last: str = ""
    _resting: dict[str, datetime] = field(default_factory=dict)

    def run(self, stop: threading.Event) -> None:
        repeat(SCORING, self.run_once, wake=self.waiting.waker())(stop)

    def run_once(self) -> int:
        """Scores one batch; returns how many answers were scored."""
        for tenant in self._in_turn():
            self._last = tenant
            try:
                if count := self._score(tenant):
                    return count
            except Exception:  # noqa: BLE001 - one tenant's trouble is not the others'
                _log.exception(
                    "cannot score the answers of %s; trying again in %.0f s", tenant, self.rest_s
                )
                LOOP_ERRORS.labels(SCORING).inc()
                self._resting[tenant] = self.clock() + timedelta(seconds=self.rest_s)
        return 0

    def _in_turn(self) -> list[str]:
        """Tenants in the order of their names, starting after the one served last."""
        now = self.clock()
        self._resting = {tenant: until for tenant, until in self._resting.items() if until > now}
        ready = (tenant for tenant in self.waiting.tenants() if tenant not in self._resting)
        return sorted(ready, key=lambda tenant: (tenant <= self._last, tenant))

    def _score(self, tenant: str) -> int:
        waiting = self.waiting.next(tenant, self.batch)
        if not waiting:
            return 0
        items = [(answer.answer, answer.user_id) for _, answer in waiting]
        scores, name = self.score(tenant, items)
        groups = self.groups(tenant, [answer.user_id for _, answer in waiting])
        with self.database.begin() as transaction:
            mine = self.scored(transaction).take([number for number, _ in waiting])
            for (number, answer), score in zip(waiting, scores, strict=True):
                if number in mine:
                    known = groups.get(answer.user_id, ())
                    event = codec.scored_event(answer, score, name, known, self.clock())
                    transaction.emit(event)
            transaction.count(ANSWERS, "waiting", WAITS, -len(mine))
            transaction.count(ANSWERS, "made", "scored", len(mine))
        return len(mine)
