"""The whole reward service on an in-memory database, log, encoder and tracker."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from threading import Event, Semaphore, Thread

import grpc
import pytest
import sqlalchemy as sa

from services.reward.adapters.kept_models import KeptModels
from services.reward.adapters.sql_waiting import SqlWaitingAnswers
from services.reward.domain import Answer, Pair
from services.reward.tables import MODELS
from shared.calls.client import metadata
from shared.contracts.messages import encode_message
from shared.contracts.status import decode_error
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.reward.v1 import reward_pb2 as pb
from shared.gen.trimtab.reward.v1 import reward_pb2_grpc as pb_grpc
from shared.language.errors import FailedPrecondition, InvalidArgument, NotFound
from shared.language.messages import text_message
from shared.language.splits import is_held_out
from shared.language.topics import (
    FEEDBACK_MINED,
    dead_letters,
)
from shared.state.tables import JOBS
from shared.statistics.intervals import wilson
from tests.unit.reward.running import LONG, NOW, SHORT, RewardService, serve


def test_short_is_better_is_learnt_and_cross_fitted() -> None:
    service = RewardService()
    service.train()
    card = service.models.page("local", None, 10)[0]
    held_out = sum(is_held_out("local", f"user{number % 40}") for number in range(60))
    assert (card.pairs, card.held_out.count, card.members) == (60 - held_out, held_out, 10)
    assert card.cross_fitted.value > 0.9
    assert card.held_out.value > 0.9
    scores, name = service.score("local", [(Answer("q", SHORT), "user1"), (Answer("q", LONG), "")])
    assert scores[0].reward > scores[1].reward
    assert all(score.std > 0 for score in scores)
    assert name == card.name


def test_it_trains_at_the_first_count_and_again_after_growth() -> None:
    service = RewardService(min_data=10)
    users = [f"u{n}" for n in range(200) if not is_held_out("local", f"u{n}")]

    def models_after(first: int, last: int) -> int:
        for number in range(first, last):
            service.pair(number, users[number])
        service.drain()
        while service.training.run_once():
            continue
        return service.models.newest_version("local")

    assert models_after(0, 9) == 0
    assert models_after(9, 10) == 1
    assert models_after(10, 14) == 1
    assert models_after(14, 15) == 2


def test_too_few_people_do_not_speak_for_all() -> None:
    service = RewardService(min_data=10)
    for number in range(12):
        service.pair(number, f"user{number % 2}")
    service.drain()
    assert service.training.run_once()
    assert service.models.newest_version("local") == 0


def test_held_out_users_and_own_judgements_train_nothing() -> None:
    service = RewardService(min_data=3)
    held_out = [f"u{n}" for n in range(100) if is_held_out("local", f"u{n}")][:5]
    for number, user in enumerate(held_out):
        service.pair(number, user)
    service.pair(99, "anyone", events.PAIR_SOURCE_USER_BASED_REWARD)
    service.drain()
    assert not service.training.run_once()
    assert service.counts("reward.pairs") == {
        ("taken", ""): 6,
        ("made", "held_out_pair"): 5,
        ("abstained", "OWN_JUDGEMENT"): 1,
    }


def test_explicit_ratings_are_kept_and_other_feedback_is_counted() -> None:
    service = RewardService()
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
        service.publish(FEEDBACK_MINED, f"f{number}", mined.SerializeToString())
    service.publish(FEEDBACK_MINED, "broken", b"\xff\xff")
    service.drain()
    _, ratings = service.models.data("local", 1000, 1000)
    assert [(r.rating_id, r.satisfaction) for r in ratings] == [("f0", 0.75)]
    made = "held_out_rating" if is_held_out("local", "user1") else "rating"
    assert service.counts("reward.ratings") == {
        ("taken", ""): 3,
        ("made", made): 1,
        ("made", "not_a_rating"): 1,
        ("dropped", "UNDECODABLE"): 1,
    }
    assert len(service.log.records(dead_letters(FEEDBACK_MINED))) == 1


def test_a_rating_that_was_replaced_is_forgotten() -> None:
    service = RewardService()
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
        service.publish(FEEDBACK_MINED, f"f{number}", mined.SerializeToString())
    service.drain()
    _, ratings = service.models.data("local", 1000, 1000)
    kept = [(one.rating_id, one.satisfaction) for one in ratings]
    assert sorted(kept) == [("f1", 0.75), ("f2", 0.5)]


def test_answers_wait_for_the_first_model_and_are_scored_once() -> None:
    service = RewardService()
    service.turn(0, "user", "What is the time?")
    service.turn(1, "assistant", LONG)
    service.turn(2, "assistant", SHORT)
    service.turn(3, "assistant", " ")
    service.drain()
    assert service.scoring.run_once() == 0
    assert service.counts("reward.answers")["waiting", "UNSCORED"] == 2
    service.train()
    assert service.scoring.run_once() == 2
    assert service.scoring.run_once() == 0
    scored = service.scored()
    assert [s.turn_id for s in scored] == ["t1", "t2"]
    assert scored[1].reward > scored[0].reward
    assert "What is the time?" in service.encoder.encoded
    assert service.counts("reward.answers") == {
        ("taken", ""): 4,
        ("made", "request_kept"): 1,
        ("made", "scored"): 2,
        ("waiting", "UNSCORED"): 0,
        ("abstained", "NO_TEXT"): 1,
    }


def test_the_backlog_is_bounded_and_says_so() -> None:
    service = RewardService(backlog=2)
    for number in range(5):
        service.turn(number, "assistant", SHORT)
    service.drain()
    counts = service.counts("reward.answers")
    assert (counts["waiting", "UNSCORED"], counts["dropped", "BACKLOG"]) == (2, 3)


def test_a_tenant_that_never_trains_keeps_nobody_elses_answers_out() -> None:
    service = RewardService(backlog=3)
    service.train()
    for number in range(5):
        service.turn(number, "assistant", SHORT, tenant="never")
    service.turn(9, "assistant", SHORT)
    service.drain()
    counts = service.counts("reward.answers")
    assert (counts["waiting", "UNSCORED"], counts["dropped", "BACKLOG"]) == (4, 2)
    assert service.scoring.run_once() == 1
    assert [(one.tenant, one.turn_id) for one in service.scored()] == [("local", "t9")]
    service.turn(10, "assistant", SHORT)
    service.drain()
    assert service.scoring.run_once() == 1
    assert service.counts("reward.answers")["waiting", "UNSCORED"] == 3


def test_a_tenant_that_floods_is_served_in_turn_with_the_others() -> None:
    service = RewardService(backlog=1000)
    service.scoring = service.scores(batch=10)
    for tenant in ("flood", "quiet"):
        service.train(tenant)
    service.turn(0, "assistant", SHORT, tenant="quiet")
    for number in range(100):
        service.turn(number, "assistant", SHORT, tenant="flood")
    service.drain()
    for _ in range(2):
        service.scoring.run_once()
    assert Counter(one.tenant for one in service.scored()) == {"flood": 10, "quiet": 1}


def test_a_tenant_whose_model_cannot_be_read_rests_and_the_others_go_on() -> None:
    service = RewardService()
    at = NOW
    service.scoring = replace(service.scores(), clock=lambda: at)
    for tenant in ("broken", "well"):
        service.train(tenant)
        service.turn(0, "assistant", SHORT, tenant=tenant)
    service.drain()
    broken = MODELS.c.tenant == "broken"
    with service.database.begin() as tx:
        kept = tx.connection.execute(sa.select(MODELS.c.weights).where(broken)).scalar()
        tx.connection.execute(MODELS.update().where(broken).values(weights=b"no model"))
    assert service.scoring.run_once() == 1
    assert [one.tenant for one in service.scored()] == ["well"]
    with service.database.begin() as tx:
        tx.connection.execute(MODELS.update().where(broken).values(weights=kept))
    assert service.scoring.run_once() == 0
    at = NOW + timedelta(seconds=31)
    assert service.scoring.run_once() == 1
    assert sorted(one.tenant for one in service.scored()) == ["broken", "well"]


def test_models_in_memory_are_those_used_last() -> None:
    service = RewardService()
    service.train()
    kept = KeptModels(service.models, most=2)
    first = kept.load("local", 1)
    for version in (2, 1, 1):
        kept.load("local", version)
    assert kept.load("local", 1) is first
    service.train("other")
    kept.load("other", 1)
    assert kept.load("local", 1) is first
    assert len(kept._kept) == 2
    with pytest.raises(NotFound):
        kept.load("other", 99)


def test_the_cards_interval_is_as_wide_as_its_users_allow() -> None:
    """Six people say ten things each, and one of them the opposite of the others."""
    service = RewardService()
    users = [f"u{n}" for n in range(50) if not is_held_out("local", f"u{n}")][:6]
    with service.database.begin() as transaction:
        intake = service.intake(transaction)
        for number in range(60):
            better, worse = Answer("q", SHORT), Answer("q", LONG)
            if number % 6 == 0:
                better, worse = worse, better
            intake.add_pair("local", Pair(f"p{number}", users[number % 6], better, worse, NOW))
    found = service.learn("local", NOW).card.cross_fitted
    assert (found.value, found.count, found.users) == (pytest.approx(5 / 6), 60, 6)
    low, _ = wilson(50, 60)
    assert low == pytest.approx(0.720, abs=1e-3)
    assert found.low == pytest.approx(0.5)
    assert found.method == "wilson widened to bootstrap-by-user"


def test_scoring_looks_when_an_answer_or_a_model_comes_and_at_no_other_commit() -> None:
    service, looks = RewardService(), Semaphore(0)

    def tenants() -> list[str]:
        looks.release()
        return []

    waiting = SqlWaitingAnswers(service.database)
    waiting.tenants = tenants  # type: ignore[method-assign]
    stop = Event()
    thread = Thread(target=replace(service.scoring, waiting=waiting).run, args=(stop,))
    thread.start()
    try:
        assert looks.acquire(timeout=5)
        with service.database.begin() as transaction:
            transaction.count("another.stage", "made")
        assert not looks.acquire(timeout=0.3)
        service.turn(0, "assistant", SHORT)
        service.drain()
        assert looks.acquire(timeout=5)
    finally:
        stop.set()
        service.database.wake()
        thread.join()


def test_the_version_that_answered_last_is_scored_first_and_in_order() -> None:
    service = RewardService()
    service.scoring = service.scores(batch=2)
    for number in range(3):
        service.turn(number, "assistant", SHORT, "imported")
    for number in range(3, 5):
        service.turn(number, "assistant", SHORT, "assistant-v0")
    service.train()
    while service.scoring.run_once():
        continue
    assert [s.turn_id for s in service.scored()] == ["t3", "t4", "t0", "t1", "t2"]


def test_a_tracker_that_is_away_loses_no_model() -> None:
    service = RewardService()
    service.tracker.go_away()
    service.train()
    assert service.tracking.run_once()
    card = service.models.load("local", 1).card
    assert card.mlflow_run_id == ""
    service.tracker.go_away(False)
    with service.database.begin() as tx:
        tx.connection.execute(JOBS.update().values(run_after=0.0))
    assert service.tracking.run_once()
    assert service.models.load("local", 1).card.mlflow_run_id == "run-1"
    run = service.tracker.runs["run-1"]
    assert sorted(run.artifacts) == ["reward-model.json", "reward-model.npz"]
    assert run.metrics["cross_fitted_accuracy"] == card.cross_fitted.value


def test_scores_need_a_model_and_a_call_of_bounded_size() -> None:
    service = RewardService()
    item = (Answer("q", SHORT), "u")
    with pytest.raises(FailedPrecondition) as untrained:
        service.score("local", [item])
    assert untrained.value.reason == "REWARD_MODEL_UNTRAINED"
    with pytest.raises(InvalidArgument):
        service.score("local", [item] * 1025)


async def test_the_api() -> None:
    service = RewardService()

    async def calls(stub: pb_grpc.RewardServiceAsyncStub) -> None:
        answer = [encode_message(text_message("assistant", SHORT))]
        request = pb.ScoreRequest(items=[pb.ScoreItem(messages=answer, user_id="u")])
        with pytest.raises(grpc.RpcError) as raised:
            await stub.Score(request, metadata=metadata("local"))
        assert decode_error(raised.value, "reward").reason == "REWARD_MODEL_UNTRAINED"
        again = pb.TrainRewardModelRequest(request_id="r1")
        first = await stub.TrainRewardModel(again, metadata=metadata("local"))
        await asyncio.to_thread(service.training.run_once)
        failed = await stub.TrainRewardModel(again, metadata=metadata("local"))
        assert (failed.name, failed.done) == (first.name, True)
        assert "nothing to compare" in failed.error.message
        await asyncio.to_thread(service.train)
        response = await stub.Score(request, metadata=metadata("local"))
        # 24 pairs made the first model, 36 the second.
        assert (len(response.scores), response.reward_model) == (1, "rewardModels/reward-v2")
        await stub.TrainRewardModel(
            pb.TrainRewardModelRequest(request_id="r2"), metadata=metadata("local")
        )
        await asyncio.to_thread(service.training.run_once)
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

    await serve(service, calls)
