"""The whole reward service on an in-memory database, log, encoder and tracker, for tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

from services.reward import grpc_api
from services.reward.adapters.hashing import HashingEncoder
from services.reward.adapters.sql_intake import SqlIntake
from services.reward.adapters.sql_models import SqlModelWriter, SqlRewardModels
from services.reward.adapters.sql_trainings import SqlTrainingRequests
from services.reward.adapters.sql_waiting import SqlScoredAnswers, SqlWaitingAnswers
from services.reward.adapters.tables import METADATA
from services.reward.adapters.tracked_runs import tracked_run
from services.reward.app.featurising import Featuriser
from services.reward.app.scoring import ScoreAnswers
from services.reward.app.taking import TakeData, TakeTurn
from services.reward.app.training import TrainModel
from services.reward.domain import TrainingRules
from services.reward.jobs import Scoring, Tracking, Trainings
from services.reward.stages import Intakes
from shared.calls.client import aio_channel
from shared.calls.server import RpcServer
from shared.contracts.messages import encode_message
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.reward.v1 import reward_pb2_grpc as pb_grpc
from shared.language.messages import text_message
from shared.language.topics import (
    INTERACTION_LOGGED,
    PREFERENCE_PROPOSED,
    REWARD_SCORED,
)
from shared.log.events import Event
from shared.log.memory import MemoryEventLog
from shared.serving import operations_api
from shared.state import operations
from shared.state.database import Database, Transaction
from shared.state.outbox import OutboxRelay
from shared.state.stage import drain
from shared.tracking.port import MemoryTracker

NOW = datetime(2026, 11, 20, tzinfo=UTC)
LONG = " ".join(["This is a rather long answer that goes on"] * 9) + "."
SHORT = "This one is short."


class RewardService:
    def __init__(
        self, backlog: int = 100, min_data: int = 24, database: Database | None = None
    ) -> None:
        rules = TrainingRules(min_data=min_data)
        self.now = NOW
        self.log = MemoryEventLog()
        self.database = database or Database("sqlite://", METADATA)
        self.models = SqlRewardModels(self.database)
        self.encoder, self.tracker = HashingEncoder(), MemoryTracker()
        featuriser = Featuriser(self.encoder)
        self.score = ScoreAnswers(featuriser, self.models, rules.folds)
        self.take_data, self.take_turn = TakeData(rules), TakeTurn(backlog)
        intakes = Intakes(self.take_data, self.take_turn, self.intake)
        self.stages = intakes.stages(self.database, self.log)
        self.learn = TrainModel(featuriser, self.models, rules)
        self.training = Trainings(self.learn, SqlModelWriter, lambda: NOW).worker(self.database)
        tracking = Tracking(self.models, SqlModelWriter, self.tracker, tracked_run)
        self.tracking = tracking.worker(self.database)
        self.scoring = self.scores()

    def scores(self, batch: int = 64) -> Scoring:
        waiting = SqlWaitingAnswers(self.database)
        return Scoring(self.database, waiting, SqlScoredAnswers, self.score, lambda: NOW, batch)

    def intake(self, transaction: Transaction) -> SqlIntake:
        return SqlIntake(transaction, lambda: self.now)

    def publish(self, topic: str, identity: str, value: bytes) -> None:
        self.log.publish([Event(topic, identity, "key", value, "test", NOW)])

    def pair(
        self,
        number: int,
        user: str,
        source: events.PairSource.ValueType = events.PAIR_SOURCE_USER_GUIDED_REWRITE,
        tenant: str = "local",
    ) -> None:
        pair = events.PreferencePair(
            pair_id=f"p{number}",
            tenant=tenant,
            user_id=user,
            source=source,
            prompt=[encode_message(text_message("user", f"Question {number}?"))],
            chosen=encode_message(text_message("assistant", f"{SHORT} {number}.")),
            rejected=encode_message(text_message("assistant", f"{number} {LONG}")),
        )
        value = events.PreferenceProposed(pair=pair).SerializeToString()
        self.publish(PREFERENCE_PROPOSED, f"{tenant}.p{number}", value)

    def turn(
        self,
        number: int,
        role: str,
        text: str,
        version: str = "assistant-v0",
        tenant: str = "local",
    ) -> None:
        turn = common.Turn(
            tenant=tenant,
            user_id="u1",
            conversation_id="c1",
            turn_id=f"t{number}",
            index=number,
            model_version=version,
            message=encode_message(text_message(role, text)),
        )
        turn.create_time.FromDatetime(NOW)
        value = events.InteractionLogged(turn=turn).SerializeToString()
        self.publish(INTERACTION_LOGGED, f"{tenant}.t{number}", value)

    def drain(self) -> None:
        for stage in self.stages:
            drain(stage)

    def train(self, tenant: str = "local") -> None:
        for number in range(60):
            self.pair(number, f"user{number % 40}", tenant=tenant)
        self.drain()
        while self.training.run_once():
            continue

    def counts(self, stage: str) -> dict[tuple[str, str], int]:
        return {(o, r): n for s, o, r, n in self.database.counts() if s == stage}

    def scored(self) -> list[events.RewardScored]:
        OutboxRelay(self.database, self.log).relay_once()
        records = self.log.records(REWARD_SCORED)
        return [events.RewardScored.FromString(record.event.value) for record in records]


async def serve(
    service: RewardService, calls: Callable[[pb_grpc.RewardServiceAsyncStub], Awaitable[None]]
) -> None:
    trainings = SqlTrainingRequests(service.database)
    operation = partial(operations.get, service.database)
    servicer = grpc_api.RewardServicer(service.models, service.score, trainings, operation)
    mounts = [grpc_api.mount(servicer), operations_api.mount(service.database)]
    server = RpcServer("reward", mounts, drain_s=0.1)
    port = await server.start()
    try:
        async with aio_channel(f"127.0.0.1:{port}") as channel:
            await calls(pb_grpc.RewardServiceStub(channel))
    finally:
        await server.drain()
