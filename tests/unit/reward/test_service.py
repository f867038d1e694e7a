"""The whole reward service on an in-memory database, log, encoder and tracker."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

import grpc
import pytest
import sqlalchemy as sa

from services.reward import grpc_api
from services.reward.adapters.aging import aging
from services.reward.adapters.hashing import HashingEncoder
from services.reward.adapters.kept_models import KeptModels
from services.reward.adapters.sql_intake import SqlIntake
from services.reward.adapters.sql_models import SqlModelWriter, SqlRewardModels
from services.reward.adapters.sql_trainings import SqlTrainingRequests
from services.reward.adapters.sql_waiting import SqlScoredAnswers, SqlWaitingAnswers
from services.reward.adapters.tables import METADATA, MODELS
from services.reward.adapters.tracked_runs import tracked_run
from services.reward.app.featurising import Featuriser
from services.reward.app.scoring import ScoreAnswers
from services.reward.app.taking import TakeData, TakeTurn
from services.reward.app.training import TrainModel
from services.reward.domain import Answer, Pair, TrainingRules
from services.reward.jobs import Scoring, Tracking, Trainings
from services.reward.stages import Intakes
from shared.calls.client import aio_channel, metadata
from shared.calls.server import RpcServer
from shared.contracts.messages import encode_message
from shared.contracts.status import decode_error
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.gen.trimtab.reward.v1 import reward_pb2_grpc as pb_grpc
from shared.language.errors import FailedPrecondition, InvalidArgument, NotFound
from shared.language.messages import text_message
from shared.language.retention import Keep, RetentionPolicy
from shared.language.splits import is_held_out
from shared.language.topics import (
    FEEDBACK_MINED,
    INTERACTION_LOGGED,
    PREFERENCE_PROPOSED,
    REWARD_SCORED,
    dead_letters,
)
from shared.log.events import Event
from shared.log.memory import MemoryEventLog
from shared.privacy.retention import Retention
from shared.serving import operations_api
from shared.state import operations
from shared.state.database import Database, Transaction
from shared.state.outbox import OutboxRelay
from shared.state.stage import drain
from shared.state.tables import JOBS
from shared.statistics.intervals import wilson
from shared.tracking.port import MemoryTracker

NOW = datetime(2026, 11, 20, tzinfo=UTC)
LONG = " ".join(["This is a rather long answer that goes on"] * 9) + "."
SHORT = "This one is short."


class House:
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
        source: events.PairSource = events.PAIR_SOURCE_USER_GUIDED_REWRITE,
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


def test_short_is_better_is_learnt_and_cross_fitted() -> None:
    house = House()
    house.train()
    card = house.models.page("local", None, 10)[0]
    held_out = sum(is_held_out("local", f"user{number % 40}") for number in range(60))
    assert (card.pairs, card.held_out.count, card.members) == (60 - held_out, held_out, 10)
    assert card.cross_fitted.value > 0.9
    assert card.held_out.value > 0.9
    scores, name = house.score("local", [(Answer("q", SHORT), "user1"), (Answer("q", LONG), "")])
    assert scores[0].reward > scores[1].reward
    assert all(score.std > 0 for score in scores)
    assert name == card.name


def test_it_trains_at_the_first_count_and_again_after_growth() -> None:
    house = House(min_data=10)
    users = [f"u{n}" for n in range(200) if not is_held_out("local", f"u{n}")]

    def models_after(first: int, last: int) -> int:
        for number in range(first, last):
            house.pair(number, users[number])
        house.drain()
        while house.training.run_once():
            continue
        return house.models.newest_version("local")

    assert models_after(0, 9) == 0
    assert models_after(9, 10) == 1
    assert models_after(10, 14) == 1
    assert models_after(14, 15) == 2


def test_too_few_people_do_not_speak_for_all() -> None:
    house = House(min_data=10)
    for number in range(12):
        house.pair(number, f"user{number % 2}")
    house.drain()
    assert house.training.run_once()
    assert house.models.newest_version("local") == 0


def test_held_out_users_and_own_judgements_train_nothing() -> None:
    house = House(min_data=3)
    held_out = [f"u{n}" for n in range(100) if is_held_out("local", f"u{n}")][:5]
    for number, user in enumerate(held_out):
        house.pair(number, user)
    house.pair(99, "anyone", events.PAIR_SOURCE_USER_BASED_REWARD)
    house.drain()
    assert not house.training.run_once()
    assert house.counts("reward.pairs") == {
        ("taken", ""): 6,
        ("made", "held_out_pair"): 5,
        ("abstained", "OWN_JUDGEMENT"): 1,
    }


def test_explicit_ratings_are_kept_and_other_feedback_is_counted() -> None:
    house = House()
    for number, source in enumerate(
        [events.FEEDBACK_SOURCE_EXPLICIT, events.FEEDBACK_SOURCE_FOLLOW_UP]
    ):
        mined = events.FeedbackMined(
            feedback_id=f"f{number}",
            tenant="local",
            user_id="user1",
            source=source,
            dissatisfaction=0.25,
            answer=encode_message(text_message("assistant", "An answer.")),
        )
        house.publish(FEEDBACK_MINED, f"f{number}", mined.SerializeToString())
    house.publish(FEEDBACK_MINED, "broken", b"\xff\xff")
    house.drain()
    _, ratings = house.models.data("local", 1000, 1000)
    assert [(r.rating_id, r.satisfaction) for r in ratings] == [("f0", 0.75)]
    made = "held_out_rating" if is_held_out("local", "user1") else "rating"
    assert house.counts("reward.ratings") == {
        ("taken", ""): 3,
        ("made", made): 1,
        ("made", "not_a_rating"): 1,
        ("dropped", "UNDECODABLE"): 1,
    }
    assert len(house.log.records(dead_letters(FEEDBACK_MINED))) == 1


def test_a_rating_that_was_replaced_is_forgotten() -> None:
    house = House()
    for number, replaces in enumerate([[], [], ["f0"]]):
        mined = events.FeedbackMined(
            feedback_id=f"f{number}",
            tenant="local",
            user_id="user1",
            source=events.FEEDBACK_SOURCE_EXPLICIT,
            dissatisfaction=0.25 * number,
            answer=encode_message(text_message("assistant", "An answer.")),
            replaces=replaces,
        )
        house.publish(FEEDBACK_MINED, f"f{number}", mined.SerializeToString())
    house.drain()
    _, ratings = house.models.data("local", 1000, 1000)
    kept = [(one.rating_id, one.satisfaction) for one in ratings]
    assert sorted(kept) == [("f1", 0.75), ("f2", 0.5)]


def test_answers_wait_for_the_first_model_and_are_scored_once() -> None:
    house = House()
    house.turn(0, "user", "What is the time?")
    house.turn(1, "assistant", LONG)
    house.turn(2, "assistant", SHORT)
    house.turn(3, "assistant", " ")
    house.drain()
    assert house.scoring.run_once() == 0
    assert house.counts("reward.answers")["waiting", "UNSCORED"] == 2
    house.train()
    assert house.scoring.run_once() == 2
    assert house.scoring.run_once() == 0
    scored = house.scored()
    assert [s.turn_id for s in scored] == ["t1", "t2"]
    assert scored[1].reward > scored[0].reward
    assert "What is the time?" in house.encoder.encoded
    assert house.counts("reward.answers") == {
        ("taken", ""): 4,
        ("made", "request_kept"): 1,
        ("made", "scored"): 2,
        ("waiting", "UNSCORED"): 0,
        ("abstained", "NO_TEXT"): 1,
    }


def test_the_backlog_is_bounded_and_says_so() -> None:
    house = House(backlog=2)
    for number in range(5):
        house.turn(number, "assistant", SHORT)
    house.drain()
    counts = house.counts("reward.answers")
    assert (counts["waiting", "UNSCORED"], counts["dropped", "BACKLOG"]) == (2, 3)


def test_a_tenant_that_never_trains_keeps_nobody_elses_answers_out() -> None:
    house = House(backlog=3)
    house.train()
    for number in range(5):
        house.turn(number, "assistant", SHORT, tenant="never")
    house.turn(9, "assistant", SHORT)
    house.drain()
    counts = house.counts("reward.answers")
    assert (counts["waiting", "UNSCORED"], counts["dropped", "BACKLOG"]) == (4, 2)
    assert house.scoring.run_once() == 1
    assert [(one.tenant, one.turn_id) for one in house.scored()] == [("local", "t9")]
    house.turn(10, "assistant", SHORT)
    house.drain()
    assert house.scoring.run_once() == 1
    assert house.counts("reward.answers")["waiting", "UNSCORED"] == 3


def test_a_tenant_that_floods_is_served_in_turn_with_the_others() -> None:
    house = House(backlog=1000)
    house.scoring = house.scores(batch=10)
    for tenant in ("flood", "quiet"):
        house.train(tenant)
    house.turn(0, "assistant", SHORT, tenant="quiet")
    for number in range(100):
        house.turn(number, "assistant", SHORT, tenant="flood")
    house.drain()
    for _ in range(2):
        house.scoring.run_once()
    assert Counter(one.tenant for one in house.scored()) == {"flood": 10, "quiet": 1}


def test_a_tenant_whose_model_cannot_be_read_rests_and_the_others_go_on() -> None:
    house = House()
    at = NOW
    house.scoring = replace(house.scores(), clock=lambda: at)
    for tenant in ("broken", "well"):
        house.train(tenant)
        house.turn(0, "assistant", SHORT, tenant=tenant)
    house.drain()
    broken = MODELS.c.tenant == "broken"
    with house.database.begin() as tx:
        kept = tx.connection.execute(sa.select(MODELS.c.weights).where(broken)).scalar()
        tx.connection.execute(MODELS.update().where(broken).values(weights=b"no model"))
    assert house.scoring.run_once() == 1
    assert [one.tenant for one in house.scored()] == ["well"]
    with house.database.begin() as tx:
        tx.connection.execute(MODELS.update().where(broken).values(weights=kept))
    assert house.scoring.run_once() == 0
    at = NOW + timedelta(seconds=31)
    assert house.scoring.run_once() == 1
    assert sorted(one.tenant for one in house.scored()) == ["broken", "well"]


def test_a_model_stays_due_however_much_is_forgotten() -> None:
    """Two pairs a day of which thirty days are kept: a new model after every half of what is kept."""
    house, due = House(), []
    policy = RetentionPolicy({"*": Keep(store_days=30)})
    retention = Retention(house.database, aging(), policy, lambda: house.now, seen_days=3)
    users = [f"u{n}" for n in range(99) if not is_held_out("local", f"u{n}")]
    for day in range(365):
        house.now = NOW + timedelta(days=day)
        with house.database.begin() as transaction:
            intake = house.intake(transaction)
            for number in (2 * day, 2 * day + 1):
                answers = Answer("q", "a"), Answer("q", "b")
                pair = Pair(f"p{number}", users[number % 20], *answers, house.now)
                house.take_data.pair(intake, "local", pair)
            if transaction.connection.execute(JOBS.delete()).rowcount:
                due.append(day)
        retention.once()
    # 24 pairs, then a half more each time, until 62 are kept: 31 more every 16 days.
    assert due[:4] == [11, 17, 26, 40]
    assert {later - earlier for earlier, later in pairwise(due[4:])} == {16}


def test_models_in_memory_are_those_used_last() -> None:
    house = House()
    house.train()
    kept = KeptModels(house.models, most=2)
    first = kept.load("local", 1)
    for version in (2, 1, 1):
        kept.load("local", version)
    assert kept.load("local", 1) is first
    house.train("other")
    kept.load("other", 1)
    assert kept.load("local", 1) is first
    assert len(kept._kept) == 2
    with pytest.raises(NotFound):
        kept.load("other", 99)


def test_the_cards_interval_is_as_wide_as_its_users_allow() -> None:
    """Six people say ten things each, and one of them the opposite of the others."""
    house = House()
    users = [f"u{n}" for n in range(50) if not is_held_out("local", f"u{n}")][:6]
    with house.database.begin() as transaction:
        intake = house.intake(transaction)
        for number in range(60):
            better, worse = Answer("q", SHORT), Answer("q", LONG)
            if number % 6 == 0:
                better, worse = worse, better
            intake.add_pair("local", Pair(f"p{number}", users[number % 6], better, worse, NOW))
    found = house.learn("local", NOW).card.cross_fitted
    assert (found.value, found.count, found.users) == (pytest.approx(5 / 6), 60, 6)
    low, _ = wilson(50, 60)
    assert low == pytest.approx(0.720, abs=1e-3)
    assert found.low == pytest.approx(0.5)
    assert found.method == "wilson widened to bootstrap-by-user"


def test_the_version_that_answered_last_is_scored_first_and_in_order() -> None:
    house = House()
    house.scoring = house.scores(batch=2)
    for number in range(3):
        house.turn(number, "assistant", SHORT, "imported")
    for number in range(3, 5):
        house.turn(number, "assistant", SHORT, "assistant-v0")
    house.train()
    while house.scoring.run_once():
        continue
    assert [s.turn_id for s in house.scored()] == ["t3", "t4", "t0", "t1", "t2"]


def test_a_tracker_that_is_away_loses_no_model() -> None:
    house = House()
    house.tracker.go_away()
    house.train()
    assert house.tracking.run_once()
    card = house.models.load("local", 1).card
    assert card.mlflow_run_id == ""
    house.tracker.go_away(False)
    with house.database.begin() as tx:
        tx.connection.execute(JOBS.update().values(run_after=0.0))
    assert house.tracking.run_once()
    assert house.models.load("local", 1).card.mlflow_run_id == "run-1"
    run = house.tracker.runs["run-1"]
    assert sorted(run.artifacts) == ["reward-model.json", "reward-model.npz"]
    assert run.metrics["cross_fitted_accuracy"] == card.cross_fitted.value


def test_scores_need_a_model_and_a_call_of_bounded_size() -> None:
    house = House()
    item = (Answer("q", SHORT), "u")
    with pytest.raises(FailedPrecondition) as untrained:
        house.score("local", [item])
    assert untrained.value.reason == "REWARD_MODEL_UNTRAINED"
    with pytest.raises(InvalidArgument):
        house.score("local", [item] * 1025)


async def test_the_api() -> None:
    house = House()

    async def calls(stub: pb_grpc.RewardServiceStub) -> None:
        answer = [encode_message(text_message("assistant", SHORT))]
        request = pb.ScoreRequest(items=[pb.ScoreItem(messages=answer, user_id="u")])
        with pytest.raises(grpc.RpcError) as raised:
            await stub.Score(request, metadata=metadata("local"))
        assert decode_error(raised.value, "reward").reason == "REWARD_MODEL_UNTRAINED"
        again = pb.TrainRewardModelRequest(request_id="r1")
        first = await stub.TrainRewardModel(again, metadata=metadata("local"))
        await asyncio.to_thread(house.training.run_once)
        failed = await stub.TrainRewardModel(again, metadata=metadata("local"))
        assert (failed.name, failed.done) == (first.name, True)
        assert "nothing to compare" in failed.error.message
        await asyncio.to_thread(house.train)
        response = await stub.Score(request, metadata=metadata("local"))
        # 24 pairs made the first model, 36 the second.
        assert (len(response.scores), response.reward_model) == (1, "rewardModels/reward-v2")
        await stub.TrainRewardModel(
            pb.TrainRewardModelRequest(request_id="r2"), metadata=metadata("local")
        )
        await asyncio.to_thread(house.training.run_once)
        page = pb.ListRewardModelsRequest(page_size=1)
        listed = await stub.ListRewardModels(page, metadata=metadata("local"))
        assert [m.name for m in listed.reward_models] == ["rewardModels/reward-v3"]
        page.page_token = listed.next_page_token
        rest = await stub.ListRewardModels(page, metadata=metadata("local"))
        assert [m.version for m in rest.reward_models] == [2]
        assert rest.reward_models[0].held_out_accuracy.count > 0
        other = await stub.ListRewardModels(
            pb.ListRewardModelsRequest(), metadata=metadata("another")
        )
        assert not other.reward_models

    await serve(house, calls)


async def serve(
    house: House, calls: Callable[[pb_grpc.RewardServiceStub], Awaitable[None]]
) -> None:
    trainings = SqlTrainingRequests(house.database)
    operation = partial(operations.get, house.database)
    servicer = grpc_api.RewardServicer(house.models, house.score, trainings, operation)
    mounts = [grpc_api.mount(servicer), operations_api.mount(house.database)]
    server = RpcServer("reward", mounts, drain_s=0.1)
    port = await server.start()
    try:
        async with aio_channel(f"127.0.0.1:{port}") as channel:
            await calls(pb_grpc.RewardServiceStub(channel))
    finally:
        await server.drain()
