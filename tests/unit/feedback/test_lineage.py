"""Where a turn is in feedback, or why it ended there."""

from __future__ import annotations

import pytest

from services.feedback.adapters.lineage import FeedbackLineage
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.serving.lineage import LineageStep
from shared.state.stage import drain
from tests.unit.feedback.house import LONG, SHORT, House, turn


@pytest.fixture
def house() -> House:
    return House()


def trace(
    house: House, conversation: str, turn_id: str = "", tenant: str = "local"
) -> list[LineageStep]:
    return list(FeedbackLineage(house.database).steps(tenant, conversation, turn_id))


def told(steps: list[LineageStep]) -> list[tuple[str, str, str, str]]:
    return [(step.stage, step.turn_id, step.outcome, step.reason) for step in steps]


def test_a_complaint_is_followed_to_its_persona_and_its_pair(house: House) -> None:
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please")
    house.settle()
    steps = trace(house, "c1")
    assert ("feedback.turns", "t1", "made", "") in told(steps)
    assert ("feedback.personas", "t2", "made", "") in told(steps)
    (pair,) = [step for step in steps if step.stage == "feedback.pairs" and step.turn_id == "t1"]
    assert (pair.outcome, pair.detail) == ("made", "user_guided_rewrite")
    assert pair.name
    assert {step.turn_id for step in trace(house, "c1", "t2")} == {"t2"}


def test_an_abstention_says_why_and_an_answer_waits_for_a_follow_up(house: House) -> None:
    house.chat_with("ada", "c1", "what is a river?", SHORT, "maybe", SHORT)
    house.settle()
    assert told(trace(house, "c1")) == [
        ("feedback.turns", "t1", "abstained", "LOW_CONFIDENCE"),
        ("feedback.turns", "t3", "waiting", "NO_FOLLOW_UP"),
    ]


def test_what_is_not_judged_yet_waits(house: House) -> None:
    house.chat_with("ada", "c1", "what is a river?", SHORT, "thanks")
    drain(house.parts.turns)
    ((stage, turn_id, outcome, reason),) = told(trace(house, "c1"))
    assert (stage, turn_id, outcome) == ("feedback.turns", "t1", "waiting")
    assert reason == "TO_JUDGE"


def test_feedback_that_came_before_its_turn_waits(house: House) -> None:
    said = common.ExplicitFeedback(
        feedback_id="f1", tenant="local", conversation_id="c1", turn_id="t1", thumbs_up=True
    )
    house.give(said)
    house.settle()
    assert told(trace(house, "c1")) == [("feedback.explicit", "t1", "waiting", "TURN_MISSING")]


def test_another_tenant_sees_nothing_and_a_completion_is_found(house: House) -> None:
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please")
    house.log_turns(turn("ada", "c2", 0, "hello"))
    house.settle()
    assert trace(house, "c1", tenant="other") == []
    lineage = FeedbackLineage(house.database)
    assert lineage.turn_of("local", "c1-1") == ("c1", "t1")
    assert lineage.turn_of("other", "c1-1") is None
