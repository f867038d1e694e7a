"""Explicit feedback that replaces, waits, or names its answer by place; preferences stated outside."""

from datetime import timedelta

import pytest

from services.feedback.mining.domain import Mined
from shared.contracts.messages import encode_message
from shared.contracts.opinions import encode_feedback
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.messages import text_message
from shared.language.topics import (
    FEEDBACK_MINED,
    PREFERENCE_GIVEN,
    PREFERENCE_MINED,
    PREFERENCE_PROPOSED,
    dead_letters,
)
from shared.log.events import Event
from shared.state.stage import drain
from tests.unit.feedback.house import LONG, NOW, SHORT, House


@pytest.fixture
def house() -> House:
    house = House()
    house.chat_with("ada", "c1", "what is a river?", SHORT)
    return house


def said(
    feedback_id: str, minute: int, *, replace: bool = False, **fields: object
) -> common.ExplicitFeedback:
    mode = common.FEEDBACK_MODE_REPLACE if replace else common.FEEDBACK_MODE_ADD
    made = common.ExplicitFeedback(feedback_id=feedback_id, tenant="local", mode=mode, **fields)  # type: ignore[arg-type]
    made.create_time.FromDatetime(NOW + timedelta(minutes=minute))
    return made


def listed(house: House) -> list[Mined]:
    return list(house.parts.feedback.page("local", (), None, 100).items)


def published(house: House) -> list[events.FeedbackMined]:
    return house.published(FEEDBACK_MINED, events.FeedbackMined)


def test_later_feedback_adds_or_replaces_as_asked(house: House) -> None:
    house.give(said("f1", 1, completion_id="c1-1", thumbs_up=True))
    house.give(said("f2", 2, completion_id="c1-1", thumbs_up=True, comment="really"))
    house.settle()
    assert [one.label.dissatisfaction for one in listed(house)] == [0.0, 0.0]
    # By another name of the same answer, and of the same kind: a thumb.
    house.give(said("f3", 3, conversation_id="c1", index=1, thumbs_up=False, replace=True))
    house.settle()
    (stands,) = listed(house)
    first, second, third = published(house)
    assert (stands.label.dissatisfaction, stands.feedback_id) == (1.0, third.feedback_id)
    assert sorted(third.replaces) == sorted([first.feedback_id, second.feedback_id])
    assert house.counts("feedback.explicit") == {("taken", ""): 3, ("made", "thumbs"): 3}


def test_only_the_same_kind_by_the_same_user_on_the_same_target_is_replaced(house: House) -> None:
    rating = common.Rating(value=5, min=1, max=5)
    house.give(said("f1", 1, completion_id="c1-1", rating=rating))
    house.give(said("f2", 1, completion_id="c1-1", thumbs_up=True, user_id="bob"))
    house.give(said("f3", 1, conversation_id="c1", thumbs_up=True))
    house.give(said("f4", 2, completion_id="c1-1", thumbs_up=False, replace=True))
    house.settle()
    assert len(listed(house)) == 4
    assert [list(one.replaces) for one in published(house)] == [[], [], [], []]


def test_what_was_said_later_stands_whatever_came_first(house: House) -> None:
    house.give(said("late", 5, completion_id="c1-1", thumbs_up=False, replace=True))
    house.settle()
    house.give(said("early", 1, completion_id="c1-1", thumbs_up=True))
    house.settle()
    (stands,) = listed(house)
    assert stands.label.dissatisfaction == 1.0
    # Born replaced: it is never published, so that nobody counts it.
    assert len(published(house)) == 1
    assert house.counts("feedback.explicit") == {
        ("taken", ""): 2,
        ("made", "thumbs"): 1,
        ("abstained", "REPLACED"): 1,
    }
    assert house.adds_up()


def test_a_proposal_goes_with_the_demonstration_it_was_made_of(house: House) -> None:
    house.scorer.trained = False
    house.give(said("f1", 1, completion_id="c1-1", demonstration="Water."))
    house.settle()
    house.give(said("f2", 2, completion_id="c1-1", demonstration="Flowing water.", replace=True))
    house.settle()
    pairs = house.parts.pairs.page("local", (), None, 10).items
    states = {one.pair.chosen.text: (one.state.value, one.reason) for one in pairs}
    assert states == {"Water.": ("dropped", "REPLACED"), "Flowing water.": ("proposed", "")}
    assert house.counts("feedback.pairs") == {
        ("taken", ""): 2,
        ("waiting", "REWARD"): 1,
        ("dropped", "REPLACED"): 1,
    }
    assert house.adds_up()


def test_a_rewrite_is_not_made_of_a_complaint_taken_back() -> None:
    house = House()
    house.chat_with("ada", "c1", "what is a river?", LONG)
    house.give(said("f1", 1, completion_id="c1-1", thumbs_up=False, comment="shorter please"))
    house.give(said("f2", 2, completion_id="c1-1", thumbs_up=True, replace=True))
    house.settle()
    assert house.published(PREFERENCE_PROPOSED, events.PreferenceProposed) == []
    assert house.counts("feedback.pairs") == {("taken", ""): 1, ("abstained", "REPLACED"): 1}


def test_what_waits_is_listed_and_outlives_a_restart() -> None:
    house = House()
    early = said("f1", 1, conversation_id="c9", index=1, thumbs_up=True, comment="good")
    house.give(early)
    drain(house.parts.explicit)
    house.start()
    page = house.parts.feedback.waiting("local", None, 10)
    assert (page.total, encode_feedback(page.items[0].feedback)) == (1, early)
    assert house.parts.feedback.waiting("loca", None, 10).total == 0
    assert house.counts("feedback.explicit")[("waiting", "TURN_NOT_LOGGED")] == 1
    house.chat_with("ada", "c9", "what is a lake?", SHORT)
    house.settle()
    (mined,) = listed(house)
    assert (mined.answer_turn_id, mined.follow_up) == ("t1", "good")
    assert ("waiting", "TURN_NOT_LOGGED") not in house.counts("feedback.explicit")


def preference(pair_id: str, **fields: object) -> Event:
    values: dict[str, object] = {
        "pair_id": pair_id,
        "tenant": "local",
        "user_id": "judge",
        "conversation_id": "q1-b",
        "source": events.PAIR_SOURCE_ARENA_VOTE,
        "prompt": [encode_message(text_message("user", "what is a river?"))],
        "chosen": encode_message(text_message("assistant", SHORT)),
        "rejected": encode_message(text_message("assistant", LONG)),
        "model_version": "vicuna-13b",
    }
    pair = events.PreferencePair(**{**values, **fields})  # type: ignore[arg-type]
    pair.create_time.FromDatetime(NOW)
    value = events.PreferenceGiven(pair=pair).SerializeToString()
    return Event(PREFERENCE_GIVEN, f"given.{pair_id}", "k", value, "t", NOW)


def test_a_vote_is_proposed_and_kept_once(house: House) -> None:
    house.log.publish([preference("p1"), preference("p1")])
    house.settle()
    (proposed,) = house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)
    assert proposed.pair.source == events.PAIR_SOURCE_ARENA_VOTE
    assert proposed.pair.model_version == "vicuna-13b"
    (kept,) = house.published(PREFERENCE_MINED, events.PreferenceMined)
    assert kept.pair.reward_margin > 0
    assert house.counts("feedback.preferences") == {("taken", ""): 1, ("made", "pair"): 1}
    assert house.counts("feedback.pairs") == {("taken", ""): 1, ("made", "arena_vote"): 1}
    assert house.adds_up()


def test_one_judge_has_a_day_s_share(house: House) -> None:
    house = House(pairs_per_user_day=2)
    house.log.publish([preference(f"p{number}") for number in range(3)])
    house.settle()
    assert house.counts("feedback.preferences") == {
        ("taken", ""): 3,
        ("made", "pair"): 2,
        ("abstained", "USER_CAP"): 1,
    }
    assert house.adds_up()


def test_a_pair_that_nobody_stated_becomes_a_dead_letter(house: House) -> None:
    house.log.publish(
        [
            preference("p1", source=events.PAIR_SOURCE_USER_GUIDED_REWRITE),
            preference("p2", prompt=[]),
            preference("a/b"),
        ]
    )
    house.settle()
    letters = house.log.records(dead_letters(PREFERENCE_GIVEN))
    reasons = [letter.event.headers["dlq_reason"] for letter in letters]
    assert sorted(reasons) == ["INVALID_ID", "INVALID_SOURCE", "NO_REQUEST"]
    assert house.adds_up()
