"""Regenerated answers and edited messages: the conversation goes on from them, nothing is counted twice."""

from datetime import timedelta
from typing import Any

from services.feedback.mining.app import follow_ups as mining
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.topics import FEEDBACK_MINED
from tests.unit.feedback.house import NOW, House, turn

REGENERATION, EDIT = common.TURN_SIGNAL_REGENERATION, common.TURN_SIGNAL_EDIT


def instead(
    made: common.Turn, signal: common.TurnSignal.ValueType, second: float = 0
) -> common.Turn:
    """`made` as a sibling of the turn at its place."""
    made.signal, made.replaces_turn_id = signal, made.turn_id
    made.turn_id += "-again"
    made.completion_id = made.completion_id and f"{made.completion_id}-again"
    made.create_time.FromDatetime(NOW + timedelta(seconds=made.index + second))
    return made


def mined(house: House) -> list[events.FeedbackMined]:
    house.settle()
    assert house.adds_up()
    found = house.published(FEEDBACK_MINED, events.FeedbackMined)
    return [one for one in found if one.source == events.FEEDBACK_SOURCE_FOLLOW_UP]


def test_a_follow_up_is_said_to_the_answer_that_was_kept_to() -> None:
    house = House()
    house.chat_with("ada", "c", "Tell me of rivers", "They are long.")
    again = instead(turn("ada", "c", 1, "They are wet."), REGENERATION)
    house.log_turns(again, turn("ada", "c", 2, "wrong, I said"))
    (judged,) = mined(house)
    assert judged.answer.parts[0].text.text == "They are wet."
    assert judged.answer_turn_id == "t1-again"
    assert [one.parts[0].text.text for one in judged.context] == ["Tell me of rivers"]
    assert house.counts(mining.STAGE)[("made", "context")] == 2


def test_an_edit_is_not_judged_and_the_talk_goes_on_from_it() -> None:
    house = House()
    house.chat_with("ada", "c", "Tell me of rivers", "They are long.", "wrong", "Indeed.")
    assert len(mined(house)) == 1
    edited = instead(turn("ada", "c", 2, "make it shorter"), EDIT)
    after = [instead(turn("ada", "c", 3, "Long."), REGENERATION), turn("ada", "c", 4, "thanks")]
    after[0].ClearField("signal")
    house.log_turns(edited, *after)
    _, judged = mined(house)
    assert judged.answer.parts[0].text.text == "Long."
    said = [one.parts[0].text.text for one in judged.context]
    assert said == ["Tell me of rivers", "They are long.", "make it shorter"]
    assert house.counts(mining.STAGE)[("made", "edit")] == 1


def test_what_waits_when_its_place_is_taken_is_dropped_and_counted() -> None:
    house = House()
    house.chat_with("ada", "c", "Tell me of rivers", "They are long.", "wrong")
    house.log_turns(instead(turn("ada", "c", 2, "make it shorter"), EDIT))
    assert mined(house) == []
    counts = house.counts(mining.STAGE)
    assert counts[("dropped", "REPLACED")] == 1
    assert ("waiting", "TO_JUDGE") not in counts


def test_the_same_sibling_again_changes_nothing() -> None:
    house = House()
    house.chat_with("ada", "c", "Tell me of rivers", "They are long.")
    again = instead(turn("ada", "c", 1, "They are wet."), REGENERATION)
    house.log_turns(again, turn("ada", "c", 2, "wrong"))
    again.metadata["logged"] = "twice"  # by another event
    house.log_turns(again)
    (judged,) = mined(house)
    assert judged.answer_turn_id == "t1-again"


def test_feedback_on_an_answer_that_was_replaced_finds_it() -> None:
    house = House()
    house.chat_with("ada", "c", "Tell me of rivers", "They are long.")
    house.log_turns(instead(turn("ada", "c", 1, "They are wet."), REGENERATION))
    house.settle()
    thumb: dict[str, Any] = {"tenant": "local", "user_id": "ada", "thumbs_up": False}
    for number, completion in enumerate(("c-1", "c-1-again")):
        name = f"f{number}"
        given = common.ExplicitFeedback(feedback_id=name, completion_id=completion, **thumb)
        given.create_time.FromDatetime(NOW)
        house.give(given)
    house.settle()
    found = house.published(FEEDBACK_MINED, events.FeedbackMined)
    assert [one.answer.parts[0].text.text for one in found] == ["They are long.", "They are wet."]


def test_the_other_answers_to_one_call_are_not_part_of_the_talk() -> None:
    house = House()
    other = turn("ada", "c", 1, "They are wet.")
    other.turn_id, other.completion_id = "t1-other", ""
    other.metadata["choice_of"] = "c-1"
    house.chat_with("ada", "c", "Tell me of rivers", "They are long.")
    house.log_turns(other, turn("ada", "c", 2, "wrong"))
    (judged,) = mined(house)
    assert judged.answer.parts[0].text.text == "They are long."
    assert house.counts(mining.STAGE)[("made", "alternative")] == 1
