"""The finer ladder, the part of the answer that is meant, satisfaction, and the signals beside the text."""

import pytest

from services.feedback.mining.app.ladder import part_of, step_of
from services.feedback.mining.domain import FollowUpStep, Label, Mined, Source
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.topics import FEEDBACK_MINED
from shared.language.verdicts import FollowUpKind
from tests.unit.feedback.house import NOW, House, turn

WITH, WITHOUT = FollowUpKind.REATTEMPT_WITH_FEEDBACK, FollowUpKind.REATTEMPT_WITHOUT_FEEDBACK


@pytest.mark.parametrize(
    ("kind", "follow_up", "similarity", "step"),
    [
        (FollowUpKind.POSITIVE, "thanks, never mind the rest", 0.0, FollowUpStep.POSITIVE),
        (WITH, "shorter please", 0.9, FollowUpStep.CORRECTION_WITH_DETAIL),
        (WITHOUT, "how is the weather in May?", 0.65, FollowUpStep.REPEAT),
        (WITHOUT, "that's wrong", 0.64, FollowUpStep.CORRECTION_WITHOUT_DETAIL),
        (WITHOUT, "What do you mean?", 0.1, FollowUpStep.CLARIFICATION),
        (WITHOUT, "Are you sure?", 0.1, FollowUpStep.CLARIFICATION),
        (WITHOUT, "I don’t get it", 0.9, FollowUpStep.CLARIFICATION),
        (WITHOUT, "Never mind.", 0.1, FollowUpStep.ABANDONED),
        (FollowUpKind.NONE, "forget it, I'll look elsewhere", 0.1, FollowUpStep.ABANDONED),
        (FollowUpKind.NONE, "ok", 0.9, FollowUpStep.NONE),
        (FollowUpKind.NEW_REQUEST, "what does that mean for cats?", 0.9, FollowUpStep.NONE),
    ],
)
def test_steps(kind: FollowUpKind, follow_up: str, similarity: float, step: FollowUpStep) -> None:
    assert step_of(kind, follow_up, similarity) is step


ANSWER = (
    "Three ideas. Try them all!\n\n1. Walk more.\n2. Sleep\nlonger.\n3) Eat less.\n\nGood luck."
)


@pytest.mark.parametrize(
    ("follow_up", "part"),
    [
        ('what is "walk More" about?', "Walk more"),
        ('you said "swim" to me', ""),
        ("The second point is wrong", "Sleep\nlonger."),
        ("drop the last tip", "Eat less."),
        ("the fifth point?", ""),
        ("I like the first sentence", "Three ideas."),
        ("the last paragraph is rude", "Good luck."),
        ("too long", ""),
    ],
)
def test_the_part_of_the_answer_that_is_meant(follow_up: str, part: str) -> None:
    assert part_of(follow_up, ANSWER) == part


def mined(source: Source, dissatisfaction: float, **shares: float) -> Mined:
    label = Label(FollowUpKind.NONE, shares, dissatisfaction)
    return Mined("f", "local", "ada", "c", source, label, NOW)


def test_satisfaction_is_what_is_to_be_expected() -> None:
    assert mined(Source.EXPLICIT, 0.25, none=1.0).satisfaction == 0.75
    assert mined(Source.FOLLOW_UP, 0.0, positive=1.0).satisfaction == 1.0
    assert mined(Source.FOLLOW_UP, 0.0, none=0.5, new_request=0.5).satisfaction == 0.5
    # Content with 0.8, of which three quarters is praise: 0.6 at one and 0.2 at a half.
    some = mined(Source.FOLLOW_UP, 0.2, positive=0.6, none=0.2, reattempt_with_feedback=0.2)
    assert some.satisfaction == pytest.approx(0.7)
    assert mined(Source.FOLLOW_UP, 1.0, reattempt_with_feedback=1.0).satisfaction == 0.0


def test_step_satisfaction_part_and_signals_are_published() -> None:
    house = House()
    answer = "- Rivers flow.\n- Lakes lie still."
    house.chat_with("ada", "c1", "what is a river?", answer, "the first point is wrong")
    house.settle()
    (label,) = house.published(FEEDBACK_MINED, events.FeedbackMined)
    assert label.step == events.FOLLOW_UP_STEP_CORRECTION_WITHOUT_DETAIL
    assert label.about == "Rivers flow."
    # Kinds 0.9 and four times 0.025, so that a third of what is left is praise.
    assert label.satisfaction == pytest.approx((1 - 0.925) * (1 + 1 / 3) / 2)
    assert label.signals.gap_s == 1.0
    assert (label.signals.regenerated, label.signals.edited) == (False, False)
    vectors = house.parts.classifier.embedder.embed(
        ["what is a river?", "the first point is wrong"]
    )
    assert label.signals.similarity == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-6)
    stored = house.parts.feedback.page("local", (), None, 10).items[0]
    assert (stored.step, stored.about) == (FollowUpStep.CORRECTION_WITHOUT_DETAIL, "Rivers flow.")
    assert stored.signals is not None and stored.signals.gap_s == 1.0


def test_an_answer_made_anew_and_a_request_said_anew_are_told() -> None:
    house = House()
    house.chat_with("ada", "c1", "what is a river?", "A lake.")
    again = turn("ada", "c1", 1, "A stream.")
    again.turn_id, again.signal, again.replaces_turn_id = (
        "t1b",
        common.TURN_SIGNAL_REGENERATION,
        "t1",
    )
    house.log_turns(again, turn("ada", "c1", 2, "thanks"))
    edited = turn("ada", "c2", 0, "what is a lake?")
    edited.turn_id, edited.signal, edited.replaces_turn_id = "t0b", common.TURN_SIGNAL_EDIT, "t0"
    house.chat_with("ada", "c2", "what is a leak?")
    house.log_turns(edited, turn("ada", "c2", 1, "Still water."), turn("ada", "c2", 2, "thanks"))
    house.settle()
    found = {
        one.conversation_id: one.signals
        for one in house.published(FEEDBACK_MINED, events.FeedbackMined)
    }
    assert (found["c1"].regenerated, found["c1"].edited) == (True, False)
    assert (found["c2"].regenerated, found["c2"].edited) == (False, True)


def test_steps_are_those_of_the_protocol() -> None:
    names = {
        name.removeprefix("FOLLOW_UP_STEP_").lower() for name in dict(events.FollowUpStep.items())
    }
    assert {step.value for step in FollowUpStep} == names - {"unspecified"}
