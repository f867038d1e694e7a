"""What the reward service removes of a user, which models had learnt, and a training under way."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from services.reward.adapters.erasing import RewardRemover
from services.reward.app.taking import ANSWERS
from services.reward.app.training import TRAIN_JOB
from services.reward.domain import Answer, Judgement
from services.reward.people.domain import Division, Said, composed, nobody_yet
from services.reward.tables import PROGRESS, REQUESTS
from shared.language.splits import is_held_out
from shared.privacy.erasure import Erasure
from shared.state.jobs import Finish, Job
from shared.state.tables import JOBS
from tests.unit.reward.running import NOW, RewardService

USERS = [f"u{n}" for n in range(200) if not is_held_out("local", f"u{n}")]
FIRST = Erasure("e1", "local", USERS[0], ("c1",))


@pytest.fixture
def service() -> RewardService:
    made = RewardService(min_data=8)
    for number in range(8):
        made.pair(number, USERS[number])
    made.turn(0, "user", "What of rivers?")
    made.turn(1, "assistant", "They flow.")
    made.drain()
    return made


def removed(service: RewardService, erasure: Erasure = FIRST) -> dict[str, int]:
    with service.database.begin() as transaction:
        return RewardRemover(service.database).remove_rows(erasure, transaction)


def test_rows_go_and_there_is_less_to_learn_from(service: RewardService) -> None:
    with service.database.begin() as transaction:
        of_user = nobody_yet("local", USERS[0], NOW)
        said = replace(of_user, said=Said(segments={"plan": "free"}))
        people = service.people(transaction)
        people.put(said, composed(said, Division(), NOW))
        people.mark_due("local", [USERS[0]])
    assert removed(service) == {
        "pairs": 1,
        "ratings": 0,
        "judgements": 0,
        "memberships": 1,
        "membership_versions": 1,
        "members": 1,
        "memberships_due": 1,
        "requests": 1,
        "unscored_answers": 1,
    }
    with service.database.read() as connection:
        progress = connection.execute(sa.select(PROGRESS)).one()
        assert connection.execute(sa.select(REQUESTS)).all() == []
    assert (progress.data, progress.pairs) == (7, 7)
    counts = {(o, r): n for s, o, r, n in service.database.counts() if s == ANSWERS}
    assert counts["dropped", "ERASED"] == 1
    assert sum(n for (o, _), n in counts.items() if o == "waiting") == 0
    assert set(removed(service).values()) == {0}


def test_models_that_were_trained_since_had_learnt(service: RewardService) -> None:
    remover = RewardRemover(service.database)
    assert remover.survey(FIRST).model_versions == []
    assert service.training.run_once()
    assert remover.survey(FIRST).model_versions == ["rewardModels/reward-v1"]
    removed(service)
    assert remover.survey(FIRST).model_versions == ()


def test_models_that_learnt_from_judged_answers_alone_are_named_too(service: RewardService) -> None:
    judge, answer = Erasure("e2", "local", USERS[50]), Answer("q", "a")
    with service.database.begin() as transaction:
        intake = service.intake(transaction)
        intake.add_judgement("local", Judgement("j", USERS[50], answer, True, NOW))
    assert service.training.run_once()
    assert RewardRemover(service.database).survey(judge).model_versions == [
        "rewardModels/reward-v1"
    ]
    assert removed(service, judge)["judgements"] == 1
    with service.database.read() as connection:
        assert connection.execute(sa.select(PROGRESS.c.data)).scalar() == 8


def test_a_training_under_way_is_begun_anew_without_the_user(service: RewardService) -> None:
    def perform(job: Job) -> Finish:
        finish = service.training.perform(job)
        removed(service)  # the erasure comes while it trains
        return finish

    assert replace(service.training, perform=perform).run_once()
    assert service.models.newest_version("local") == 0
    with service.database.read() as connection:
        (job,) = connection.execute(sa.select(JOBS.c.id).where(JOBS.c.kind == TRAIN_JOB)).scalars()
    assert job.endswith(":e1")
    assert service.training.run_once()
    assert service.models.load("local", 1).card.pairs == 7


def test_an_export_gives_what_is_held(service: RewardService) -> None:
    held = list(RewardRemover(service.database).holdings("local", USERS[0]))
    assert [kind for kind, _ in held] == ["reward_pair"]
    assert "Question 0?" in str(held[0][1])
    service.correct("local", USERS[0], None, {"plan": "free"}, "ada", "it is so")
    *_, (kind, version) = RewardRemover(service.database).holdings("local", USERS[0])
    assert kind == "membership_version"
    assert isinstance(version, dict)
    assert (version["segments"], version["reason"]) == ({"plan": "free"}, "it is so")
