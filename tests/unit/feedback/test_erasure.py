"""What the feedback service removes of a user, what becomes of what waited, and whose data an event is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.feedback.adapters.erasing import FeedbackRemover, SqlHoldings
from services.feedback.mining.app import follow_ups as mining
from services.feedback.pairs.domain import PAIRS, REWRITE_LIVE
from services.feedback.personas.domain import PERSONAS
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.language.topics import FEEDBACK_GIVEN, FEEDBACK_MINED, PREFERENCE_PROPOSED, dead_letters
from shared.privacy.erasure import Erasing, Erasure
from shared.state.jobs import Finish, Job
from shared.state.stage import drain
from tests.unit.feedback.house import LONG, House, work_of

ADA = Erasure("e1", "local", "ada")


def removed(house: House, erasure: Erasure = ADA) -> dict[str, int]:
    with house.database.begin() as transaction:
        return FeedbackRemover(house.database).remove_rows(erasure, transaction)


@pytest.fixture
def house() -> House:
    made = House()
    made.scorer.trained = False
    for user in ("ada", "ben"):
        made.chat_with(user, f"c-{user}", "About rivers?", LONG, "Please, shorter!", "The Roe.")
    return made


def test_all_of_a_user_goes_and_the_others_stay(house: House) -> None:
    house.settle()
    kinds = [kind for kind, _ in SqlHoldings(house.database)("local", "ada")]
    assert sorted(kinds) == ["feedback", "pair", "persona", "persona_version"]
    gone = removed(house)
    assert (gone["turns"], gone["feedback"], gone["pairs"], gone["personas"]) == (4, 1, 1, 1)
    assert gone["persona_versions"] == 1
    assert list(SqlHoldings(house.database)("local", "ada")) == []
    assert len(list(SqlHoldings(house.database)("local", "ben"))) == 4
    assert house.counts(PAIRS)["waiting", "REWARD"] == 1
    assert house.counts(PAIRS)["dropped", "ERASED"] == 1
    assert house.adds_up()
    assert set(removed(house).values()) == {0}


def test_what_waits_is_dropped_as_erased_and_never_written(house: House) -> None:
    drain(house.parts.turns)
    assert house.counts(mining.STAGE)["waiting", "TO_JUDGE"] == 2
    ready = house.parts.feedback.ready_follow_ups(10, 8, 8000).found
    judged = house.parts.judge.judge.judge(ready)
    assert removed(house)["follow_ups"] == 1
    with house.database.begin() as transaction:
        assert house.parts.judge.judge.record(judged, work_of(transaction)) == 1
    assert house.counts(mining.STAGE)["dropped", "ERASED"] == 1
    assert list(SqlHoldings(house.database)("local", "ada")) == []
    assert house.adds_up()


def test_a_rewrite_in_hand_leaves_nothing(house: House) -> None:
    drain(house.parts.turns)
    house.parts.judge.once()
    worker = house.parts.workers[REWRITE_LIVE]

    def perform(job: Job) -> Finish:
        finish = worker.perform(job)
        removed(house)  # the erasure comes while the model writes
        removed(house, Erasure("e2", "local", "ben"))
        return finish

    assert replace(worker, perform=perform).run_once()
    house.settle()
    assert house.log.records(PREFERENCE_PROPOSED) == []
    assert house.counts(PAIRS)["dropped", "ERASED"] == 2
    assert house.counts(PERSONAS)["dropped", "ERASED"] == 2
    assert house.adds_up()


def test_feedback_that_waits_goes_with_its_user_and_with_whom_it_is_about(house: House) -> None:
    house.settle()
    for number, (user, target) in enumerate(
        [("ada", "later-1"), ("ben", "later-2"), ("", "c-ada-9")]
    ):
        house.give(
            common.ExplicitFeedback(
                feedback_id=f"f{number}",
                tenant="local",
                user_id=user,
                conversation_id="" if user else "c-ada",
                turn_id="" if user else "t9",
                completion_id=target if user else "",
                thumbs_up=True,
            )
        )
    house.settle()
    assert removed(house)["waiting_feedback"] == 2
    assert house.adds_up()


def test_what_a_reviewer_says_of_a_conversation_belongs_to_both(house: House) -> None:
    said = common.ExplicitFeedback(
        feedback_id="f1",
        tenant="local",
        user_id="reviewer",
        completion_id="c-ada-1",
        demonstration="The Roe River is the shortest.",
    )
    said.create_time.GetCurrentTime()
    house.give(said)
    house.settle()
    owners = {record.event.owner for record in house.log.records(FEEDBACK_MINED)}
    both = "tenants/local/users/ada tenants/local/users/reviewer"
    assert owners == {both, "tenants/local/users/ada", "tenants/local/users/ben"}
    assert removed(house, Erasure("e1", "local", "ada", ("c-ada",)))["pairs"] == 2
    kinds = [kind for kind, _ in SqlHoldings(house.database)("local", "reviewer")]
    assert kinds == []


def test_no_id_or_key_on_the_topics_tells_the_user(house: House) -> None:
    house.settle()
    records = [r for partition in house.log._records.values() for r in partition]
    ours = [r.event for r in records if r.event.source == "feedback"]
    assert len(ours) >= 6
    assert all(event.owner for event in ours)
    assert not any("ada" in event.id for event in ours)
    personas = [event for event in ours if event.topic == "persona.updated.v1"]
    assert personas and not any("ada" in event.key for event in personas)


def test_dead_letters_keep_their_owner() -> None:
    house = House(explicit_wait_s=0.0)
    given = common.ExplicitFeedback(
        feedback_id="f1", tenant="local", user_id="ada", completion_id="never", thumbs_up=True
    )
    house.give(given)
    house.settle()
    house.settle()
    (letter,) = house.log.records(dead_letters(FEEDBACK_GIVEN))
    assert letter.event.owner == "tenants/local/users/ada"


def test_the_service_reports_what_it_removed(house: House) -> None:
    house.settle()
    erasing: Erasing = house.parts.erasing
    assert erasing.groups == {"feedback.erasures": ("user.erasure_requested.v1",)}
