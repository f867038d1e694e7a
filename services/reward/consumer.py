"""What reaches the reward service: records from Kafka, durable jobs, and answers that wait."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from services.reward import codec
from services.reward.adapters.sql_store import (
    TRAIN_JOB,
    SqlIntake,
    SqlRewardModels,
    add_model,
    set_run,
    take_scored,
    unscored,
    weights_file,
)
from services.reward.app import (
    ANSWERS,
    PAIRS,
    RATINGS,
    WAITS,
    ScoreAnswers,
    TakeData,
    TakeTurn,
    TrainModel,
)
from services.reward.domain import ModelCard
from services.reward.ports import RewardModel
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.language.errors import FailedPrecondition, Internal, TrimtabError
from shared.language.topics import FEEDBACK_MINED, INTERACTION_LOGGED, PREFERENCE_PROPOSED
from shared.log.events import EventLog, Record
from shared.state import operations
from shared.state.database import LOOKS_S, Database, Transaction
from shared.state.jobs import Finish, Job, Worker, enqueue
from shared.state.stage import SqlStage
from shared.tracking.port import ExperimentTracker, TrackedRun

_log = logging.getLogger(__name__)
TRACK_JOB = "reward.track"
GROUPS = {
    PAIRS: (PREFERENCE_PROPOSED,),
    RATINGS: (FEEDBACK_MINED,),
    ANSWERS: (INTERACTION_LOGGED,),
}
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Intakes:
    """One handler a topic."""

    take_data: TakeData
    take_turn: TakeTurn

    def pair(self, record: Record, tx: Transaction) -> None:
        tenant, pair, own_judgement = codec.decode_pair(record.event.value)
        if own_judgement:
            tx.count(PAIRS, "abstained", "OWN_JUDGEMENT")
            return
        self.take_data.pair(SqlIntake(tx), tenant, pair)

    def rating(self, record: Record, tx: Transaction) -> None:
        decoded = codec.decode_rating(record.event.value)
        if decoded is None:
            tx.count(RATINGS, "made", "not_a_rating")
            return
        self.take_data.rating(SqlIntake(tx), *decoded)

    def turn(self, record: Record, tx: Transaction) -> None:
        message, logged = codec.decode_turn(record.event.value)
        intake = SqlIntake(tx)
        if message.role == "user":
            self.take_turn.user(intake, logged)
        elif message.role == "assistant":
            self.take_turn.assistant(intake, logged)
        else:
            self.take_turn.other(intake)

    def stages(self, database: Database, log: EventLog) -> list[SqlStage]:
        handlers = {PAIRS: self.pair, RATINGS: self.rating, ANSWERS: self.turn}
        return [
            SqlStage(name, database, log, topics, handlers[name]) for name, topics in GROUPS.items()
        ]


@dataclass(frozen=True, slots=True)
class Trainings:
    """The training job: slow part outside, model, operation and what follows in one transaction."""

    train: TrainModel
    clock: Clock

    def perform(self, job: Job) -> Finish:
        tenant, operation = job.payload["tenant"], job.payload.get("operation", "")
        try:
            model = self.train(tenant, self.clock())
        except FailedPrecondition as error:
            refused = error
            _log.info("no reward model for %s: %s", tenant, refused)
            return lambda tx: _fail(tx, operation, refused)
        return lambda tx: _store(tx, tenant, operation, model)

    def abandon(self, job: Job, error: BaseException, tx: Transaction) -> None:
        cause = error if isinstance(error, TrimtabError) else Internal(f"training failed: {error}")
        _fail(tx, job.payload.get("operation", ""), cause)

    def worker(self, database: Database) -> Worker:
        return Worker(database, TRAIN_JOB, self.perform, self.abandon)


def _fail(tx: Transaction, operation: str, error: TrimtabError) -> None:
    if operation:
        operations.fail(tx, operation, error)


def _store(tx: Transaction, tenant: str, operation: str, model: RewardModel) -> None:
    card = add_model(tx, tenant, model)
    payload = {"tenant": tenant, "version": card.version}
    enqueue(tx, TRACK_JOB, f"{TRACK_JOB}:{tenant}:{card.version}", payload)
    if operation:
        response = pb.TrainRewardModelResponse(reward_model=codec.encode_card(card))
        operations.succeed(tx, operation, response)


@dataclass(frozen=True, slots=True)
class Tracking:
    """Logs each model to the tracker as a job of its own: a tracker that is away loses no model."""

    models: SqlRewardModels
    tracker: ExperimentTracker

    def perform(self, job: Job) -> Finish:
        tenant, version = job.payload["tenant"], job.payload["version"]
        model = self.models.load(tenant, version)
        run_id = self.tracker.log(_tracked(tenant, model))
        return lambda tx: set_run(tx, tenant, version, run_id)

    def abandon(self, job: Job, error: BaseException, tx: Transaction) -> None:
        _log.error("reward model %s is kept but not tracked: %s", job.payload["version"], error)

    def worker(self, database: Database) -> Worker:
        return Worker(database, TRACK_JOB, self.perform, self.abandon, max_attempts=20)


def _tracked(tenant: str, model: RewardModel) -> TrackedRun:
    card = model.card
    content = asdict(card) | {"create_time": card.create_time.isoformat()}
    return TrackedRun(
        experiment="reward",
        key=f"{tenant}/{card.name}",
        name=f"{tenant}-reward-v{card.version}",
        params={"tenant": tenant, "members": str(card.members), "pairs": str(card.pairs)},
        metrics=_metrics(card),
        artifacts={
            "reward-model.npz": weights_file(model),
            "reward-model.json": json.dumps(content, indent=1).encode(),
        },
    )


def _metrics(card: ModelCard) -> dict[str, float]:
    metrics = {
        "pairs": float(card.pairs),
        "ratings": float(card.ratings),
        "users": float(card.users),
        "held_out_pairs": float(card.held_out.count),
        "cross_fitted_accuracy": card.cross_fitted.value,
    }
    if card.held_out.count:
        metrics["held_out_accuracy"] = card.held_out.value
        metrics["held_out_accuracy_low"] = card.held_out.low
        metrics["held_out_accuracy_high"] = card.held_out.high
    if card.people:
        metrics["groups"] = float(len(card.people.groups))
        metrics["worst_group_accuracy"] = card.people.by_group_models.worst_group
        metrics["suspects"] = float(card.people.suspects)
    return metrics


@dataclass(frozen=True, slots=True)
class Scoring:
    """Scores waiting answers in batches, as soon as their tenant has a model."""

    database: Database
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
        waiting = unscored(self.database, self.batch)
        if not waiting:
            return 0
        items = [(answer.answer, answer.user_id) for _, answer in waiting]
        scores, name = self.score(waiting[0][1].tenant, items)
        with self.database.begin() as tx:
            mine = take_scored(tx, [seq for seq, _ in waiting])
            for (seq, answer), score in zip(waiting, scores, strict=True):
                if seq in mine:
                    tx.emit(codec.scored_event(answer, score, name, self.clock()))
            tx.count(ANSWERS, "waiting", WAITS, -len(mine))
            tx.count(ANSWERS, "made", "scored", len(mine))
        return len(mine)


def background(
    stages: Sequence[SqlStage], workers: Sequence[Worker], scoring: Scoring
) -> list[tuple[str, Callable[[threading.Event], None]]]:
    """For the process: everything that runs beside the server."""
    return [
        *((stage.name, stage.run) for stage in stages),
        *((worker.kind, worker.run) for worker in workers),
        ("reward.scoring", scoring.run),
    ]
