"""The whole reward service on an in-memory database, log, encoder and tracker, for tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

import grpc

from services.reward import grpc_api
from services.reward.adapters.hashing import HashingEncoder
from services.reward.adapters.sql_intake import SqlIntake
from services.reward.adapters.sql_models import SqlModelWriter, SqlRewardModels
from services.reward.adapters.sql_trainings import SqlTrainingRequests
from services.reward.adapters.sql_waiting import SqlScoredAnswers, SqlWaitingAnswers
from services.reward.adapters.tracked_runs import tracked_run
from services.reward.app.featurising import Featuriser
from services.reward.app.scoring import ScoreAnswers
from services.reward.app.taking import TakeData, TakeTurn
from services.reward.app.training import TrainModel
from services.reward.domain import TrainingRules
from services.reward.jobs import Scoring, Tracking, Trainings
from services.reward.learning.people import Probabilities
from services.reward.people import grpc_api as people_api
from services.reward.people.adapters.sql_evidence import SqlEvidence
from services.reward.people.adapters.sql_memberships import SqlMembershipReads, SqlMemberships
from services.reward.people.app.correcting import CorrectMembership
from services.reward.people.app.declaring import NoteUser
from services.reward.people.app.learning import KeepLearnt, KeepNames, LearnMemberships
from services.reward.people.jobs import Learning, Sweeps
from services.reward.ports import Encoder
from services.reward.stages import Intakes
from services.reward.tables import METADATA
from shared.calls.client import aio_channel
from shared.calls.server import RpcServer
from shared.contracts.messages import encode_message
from shared.contracts.people import decode_membership
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.reward.v1 import reward_pb2_grpc as pb_grpc
from shared.language.groups import Membership
from shared.language.messages import text_message
from shared.language.topics import (
    INTERACTION_LOGGED,
    MEMBERSHIP_UPDATED,
    PREFERENCE_PROPOSED,
    REWARD_SCORED,
)
from shared.log.events import Event
from shared.log.memory import MemoryEventLog
from shared.serving import operations_api
from shared.state import operations
from shared.state.database import Database, Transaction
from shared.state.outbox import OutboxRelay
from shared.state.sessions import SqlStore
from shared.state.stage import drain
from shared.tracking.port import MemoryTracker

NOW = datetime(2026, 11, 20, tzinfo=UTC)
LONG = " ".join(["This is a rather long answer that goes on"] * 9) + "."
SHORT = "This one is short."


class RewardService:
    def __init__(
        self,
        backlog: int = 100,
        min_data: int = 24,
        database: Database | None = None,
        encoder: Encoder | None = None,
        *,
        takes_wishes: bool = True,
    ) -> None:
        rules = TrainingRules(min_data=min_data)
        self.now = NOW
        self.log = MemoryEventLog()
        self.database = database or Database("sqlite://", METADATA)
        self.models = SqlRewardModels(self.database)
        self.encoder, self.tracker = HashingEncoder(), MemoryTracker()
        featuriser = Featuriser(encoder or self.encoder)
        self.score = ScoreAnswers(featuriser, self.models, rules.folds)
        self.take_data, self.take_turn = TakeData(rules), TakeTurn(backlog)
        self.memberships = SqlMembershipReads(self.database)
        intakes = Intakes(
            self.take_data,
            self.take_turn,
            self.intake,
            NoteUser(("channel",), lambda: self.now, takes_wishes),
            self.people,
        )
        store = SqlStore(self.database, self.people)
        self.correct = CorrectMembership(store, lambda: self.now, lambda _, text: text)
        self.stages = intakes.stages(self.database, self.log)
        self.learn = TrainModel(featuriser, self.models, rules, self.memberships.groups_of)
        names = KeepNames(self.memberships)
        self.training = Trainings(
            self.learn, names, SqlModelWriter, self.people, lambda: NOW
        ).worker(self.database)
        self.sweeping = Sweeps(self.memberships, self.people).worker(self.database)
        learn = LearnMemberships(
            self.memberships, SqlEvidence(self.database), self.models, Probabilities(featuriser)
        )
        self.learning = Learning(self.memberships, learn, KeepLearnt(store, lambda: self.now))
        tracking = Tracking(self.models, SqlModelWriter, self.tracker, tracked_run)
        self.tracking = tracking.worker(self.database)
        self.scoring = self.scores()

    def scores(self, batch: int = 64) -> Scoring:
        waiting = SqlWaitingAnswers(self.database)
        groups = self.memberships.groups_of
        return Scoring(
            self.database, waiting, SqlScoredAnswers, self.score, groups, lambda: NOW, batch
        )

    def intake(self, transaction: Transaction) -> SqlIntake:
        return SqlIntake(transaction, lambda: self.now)

    def people(self, transaction: Transaction) -> SqlMemberships:
        return SqlMemberships(transaction, lambda: self.now)

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
        user: str = "u1",
        metadata: dict[str, str] | None = None,
        channel: str = "",
    ) -> None:
        turn = common.Turn(
            tenant=tenant,
            user_id=user,
            metadata=metadata,
            channel=channel,
            conversation_id="c1",
            turn_id=f"t{number}",
            index=number,
            model_version=version,
            message=encode_message(text_message(role, text)),
        )
        turn.create_time.FromDatetime(self.now)
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

    def learn_memberships(self) -> None:
        while self.sweeping.run_once():
            continue
        while self.learning.run_once():
            continue

    def counts(self, stage: str) -> dict[tuple[str, str], int]:
        return {(o, r): n for s, o, r, n in self.database.counts() if s == stage}

    def updated(self) -> list[Membership]:
        """What was published of memberships."""
        while OutboxRelay(self.database, self.log).relay_once():
            continue
        found = [record.event.value for record in self.log.records(MEMBERSHIP_UPDATED)]
        return [
            decode_membership(events.MembershipUpdated.FromString(one).membership) for one in found
        ]

    def scored(self) -> list[events.RewardScored]:
        OutboxRelay(self.database, self.log).relay_once()
        records = self.log.records(REWARD_SCORED)
        return [events.RewardScored.FromString(record.event.value) for record in records]


async def serve(
    service: RewardService, calls: Callable[[pb_grpc.RewardServiceAsyncStub], Awaitable[None]]
) -> None:
    await serve_channel(service, lambda channel: calls(pb_grpc.RewardServiceStub(channel)))


async def serve_channel(
    service: RewardService, calls: Callable[[grpc.aio.Channel], Awaitable[None]]
) -> None:
    trainings = SqlTrainingRequests(service.database)
    operation = partial(operations.get, service.database)
    servicer = grpc_api.RewardServicer(service.models, service.score, trainings, operation)
    people = people_api.PeopleServicer(service.memberships, service.correct)
    mounts = [
        grpc_api.mount(servicer),
        people_api.mount(people),
        operations_api.mount(service.database),
    ]
    server = RpcServer("reward", mounts, drain_s=0.1)
    port = await server.start()
    try:
        async with aio_channel(f"127.0.0.1:{port}") as channel:
            await calls(channel)
    finally:
        await server.drain()
