"""The whole service on twins: what is published, and that the counts add up."""

import pytest

from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.topics import (
    FEEDBACK_GIVEN,
    FEEDBACK_MINED,
    INTERACTION_LOGGED,
    PERSONA_UPDATED,
    PREFERENCE_MINED,
    PREFERENCE_PROPOSED,
    dead_letters,
)
from shared.language.verdicts import FollowUpKind
from shared.state.stage import drain
from tests.unit.feedback.house import LONG, NOW, SHORT, House, turn, turn_event


@pytest.fixture
def house() -> House:
    return House()


def mined(house: House) -> list[events.FeedbackMined]:
    return house.published(FEEDBACK_MINED, events.FeedbackMined)


def test_a_complaint_becomes_a_label_a_pair_and_a_persona(house: House) -> None:
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please")
    house.settle()
    (label,) = mined(house)
    assert label.kind == events.FOLLOW_UP_KIND_REATTEMPT_WITH_FEEDBACK
    assert label.dissatisfaction == pytest.approx(0.925)
    assert label.model_version == "assistant-v0"
    assert (label.answer_turn_id, label.follow_up_turn_id) == ("t1", "t2")
    assert [m.parts[0].text.text for m in label.context] == ["what is a river?"]
    assert label.answer.parts[0].text.text == LONG
    assert len(label.request_embedding) == 384
    (proposed,) = house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)
    (kept,) = house.published(PREFERENCE_MINED, events.PreferenceMined)
    assert proposed.pair.chosen.parts[0].text.text == "Here is one short river answer."
    assert proposed.pair.rejected.parts[0].text.text == LONG
    assert [m.parts[0].text.text for m in proposed.pair.prompt] == ["what is a river?"]
    assert proposed.pair.confidence == pytest.approx(0.9)  # that it is a wish at all
    assert kept.pair.reward_margin == pytest.approx((88 - 6) / 10)
    assert kept.pair.reward_model == "rewardModels/scripted"
    (persona,) = house.published(PERSONA_UPDATED, events.PersonaUpdated)
    assert persona.persona.text == "This user wants shorter answers."
    assert persona.persona.version == 1
    assert "tenants/local/conversations/c1/turns/t2" in persona.persona.evidence
    assert house.counts("feedback.turns") == {
        ("taken", ""): 3,
        ("made", "context"): 1,
        ("made", "first_turn"): 1,
        ("made", "judged"): 1,
    }
    assert house.counts("feedback.pairs") == {
        ("taken", ""): 1,
        ("made", "user_guided_rewrite"): 1,
    }
    assert house.adds_up()


def test_every_kind_and_the_abstention_are_published_and_counted(house: House) -> None:
    texts = ("thanks", "wrong", "lol", "what about lakes?", "maybe", "...")
    for number, text in enumerate(texts):
        house.chat_with(f"u{number}", f"c{number}", "what is a river?", SHORT, text)
    house.settle()
    kinds = {label.follow_up: (label.kind, label.abstained) for label in mined(house)}
    assert kinds["thanks"] == (events.FOLLOW_UP_KIND_POSITIVE, False)
    assert kinds["wrong"] == (events.FOLLOW_UP_KIND_REATTEMPT_WITHOUT_FEEDBACK, False)
    assert kinds["lol"] == (events.FOLLOW_UP_KIND_NONE, False)
    assert kinds["what about lakes?"] == (events.FOLLOW_UP_KIND_NEW_REQUEST, False)
    assert kinds["maybe"][1] is True
    counts = house.counts("feedback.turns")
    assert counts[("made", "judged")] == 5
    assert counts[("abstained", "LOW_CONFIDENCE")] == 1
    assert house.adds_up()


def test_an_answer_that_comes_late_is_waited_for(house: House) -> None:
    first, answer, follow_up = (
        turn("ada", "c1", i, text) for i, text in enumerate(("hello", SHORT, "thanks"))
    )
    house.log_turns(first, follow_up)
    house.settle()
    assert mined(house) == []
    assert house.counts("feedback.turns")[("waiting", "ANSWER_MISSING")] == 1
    assert house.adds_up()
    house.log_turns(answer)
    house.settle()
    assert [label.follow_up for label in mined(house)] == ["thanks"]
    assert not any(outcome == "waiting" for outcome, _ in house.counts("feedback.turns"))
    assert house.adds_up()


def test_a_follow_up_whose_answer_never_comes_is_dropped_once_all_turns_are_taken() -> None:
    house = House(answer_wait_s=60.0)
    house.log_turns(turn("ada", "c1", 2, "thanks"))
    house.settle()
    house.wait(59)
    assert house.parts.late.once() == 0
    house.wait(2)
    # Turns are still to be taken: its answer may be among them.
    house.log_turns(turn("ben", "c2", 0, "hello"))
    assert house.parts.late.once() == 0
    house.settle()
    assert house.parts.late.once() == 1
    counts = {("taken", ""): 2, ("made", "first_turn"): 1, ("dropped", "NO_ANSWER"): 1}
    assert house.counts("feedback.turns") == counts


def test_what_is_no_follow_up_is_counted_as_what_it_is(house: House) -> None:
    house.log_turns(
        turn("ada", "c1", 0, "hello", role="user"),
        turn("ada", "c1", 1, "are you there?", role="user"),
        turn("ada", "c1", 2, "be nice", role="system"),
        turn("ada", "c1", 2, "lookup", role="tool"),
    )
    again = turn_event(turn("ada", "c1", 0, "hello", role="user"))
    house.log.publish([again])  # the same event twice counts once
    house.settle()
    assert house.counts("feedback.turns") == {
        ("taken", ""): 3,
        ("made", "first_turn"): 1,
        ("made", "no_answer_before"): 1,
        ("made", "context"): 1,
    }


def test_unreadable_turns_go_to_the_dead_letters_and_the_rest_goes_on(house: House) -> None:
    event = turn_event(turn("ada", "c1", 0, "hello"))
    broken = type(event)(INTERACTION_LOGGED, "broken", event.key, b"\xff\xff", "test", NOW)
    house.log.publish([broken])
    house.chat_with("ada", "c1", "hello", SHORT, "thanks")
    house.settle()
    (letter,) = house.log.records(dead_letters(INTERACTION_LOGGED))
    assert letter.event.headers["dlq_reason"] == "UNDECODABLE"
    assert len(mined(house)) == 1
    assert house.adds_up()


def test_pairs_wait_for_a_reward_model_and_are_dropped_if_it_prefers_the_original() -> None:
    house = House()
    house.scorer.trained = False
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please")
    house.settle()
    assert house.counts("feedback.pairs") == {("taken", ""): 1, ("waiting", "REWARD"): 1}
    assert len(house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)) == 1
    house.scorer.train()
    house.wait(16)
    house.scorer._reward = lambda text: float(len(text))
    house.settle()
    assert house.published(PREFERENCE_MINED, events.PreferenceMined) == []
    assert house.counts("feedback.pairs") == {
        ("taken", ""): 1,
        ("dropped", "REWARD_PREFERS_ORIGINAL"): 1,
    }
    assert set(house.scorer.users) == {"ada"}  # cross-fitting: whose data must not have been seen


def test_a_user_can_cause_only_so_many_pairs_a_day() -> None:
    house = House(pairs_per_user_day=2)
    for number, request in enumerate(("rivers of Asia?", "what is ice?", "why rain?", "the sea?")):
        house.chat_with("ada", f"c{number}", request, LONG, "shorter please")
    house.settle()
    counts = house.counts("feedback.pairs")
    assert counts[("made", "user_guided_rewrite")] == 2
    assert counts[("abstained", "USER_CAP")] == 2
    assert house.adds_up()


def test_candidates_that_ignore_the_wish_make_no_pair(house: House) -> None:
    house.chat._script = lambda messages: "A river is a natural stream of fresh water that flows."
    house.chat_with("ada", "c1", "what is a river?", SHORT, "shorter please")
    house.settle()
    assert house.counts("feedback.pairs") == {
        ("taken", ""): 1,
        ("abstained", "IGNORES_FEEDBACK"): 1,
    }
    (persona,) = house.published(PERSONA_UPDATED, events.PersonaUpdated)
    assert persona.persona.text == 'This user said of answers: "shorter please".'  # the template


def test_satisfied_users_with_a_persona_are_sampled_best_against_worst() -> None:
    house = House(ubr_share=1.0)
    answers = (
        "A short and good answer indeed.",
        "It goes on, says all of it again in a few other words, and it has no end.",
    )
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please")
    house.settle()
    persona = ("This user wants shorter answers.",)
    house.chat.complete = lambda messages, n, *_: answers if n > 1 else persona  # type: ignore
    house.chat_with("ada", "c2", "what is a lake?", SHORT, "thanks")
    house.chat_with("ada", "c3", "what is a pond?", SHORT, "thanks")
    house.settle()
    pairs = [e.pair for e in house.published(PREFERENCE_MINED, events.PreferenceMined)]
    (pair,) = [p for p in pairs if p.source == events.PAIR_SOURCE_USER_BASED_REWARD]
    assert pair.chosen.parts[0].text.text == "A short and good answer indeed."
    assert pair.persona == "This user wants shorter answers."
    assert len(house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)) == 1  # UGR's
    assert house.counts("feedback.pairs")[("taken", "")] == 2  # one sample a user and day
    assert house.adds_up()


def test_personas_follow_own_turns_at_each_doubling() -> None:
    house = House(persona_min_turns=2)
    texts = ("rivers briefly?", SHORT, "lakes briefly?", SHORT, "lol", SHORT, "lol")
    house.chat_with("ada", "c1", *texts)
    house.settle()
    # At two and at four own turns; the second says the same.
    assert house.counts("feedback.personas") == {
        ("taken", ""): 2,
        ("made", "model"): 1,
        ("abstained", "UNCHANGED"): 1,
    }


def given(feedback_id: str, **fields: object) -> common.ExplicitFeedback:
    return common.ExplicitFeedback(feedback_id=feedback_id, tenant="local", **fields)  # type: ignore[arg-type]


def test_explicit_feedback_joins_its_answer(house: House) -> None:
    house.chat_with("ada", "c1", "what is a river?", SHORT, "lol", LONG)
    house.give(given("f1", completion_id="c1-1", thumbs_up=True))
    house.give(given("f2", conversation_id="c1", rating=common.Rating(value=2, min=1, max=5)))
    house.give(given("f3", conversation_id="c1", turn_id="t1", category="funny"))
    house.give(given("f4", completion_id="c1-1", demonstration="Water that flows."))
    house.settle()
    found = [m for m in mined(house) if m.source == events.FEEDBACK_SOURCE_EXPLICIT]
    by = {(m.answer_turn_id, m.kind): m for m in found}
    thumb = by[("t1", events.FOLLOW_UP_KIND_POSITIVE)]
    assert (thumb.dissatisfaction, thumb.user_id) == (0.0, "ada")
    rated = by[("", events.FOLLOW_UP_KIND_REATTEMPT_WITHOUT_FEEDBACK)]
    assert rated.dissatisfaction == 0.75
    assert len(rated.context) == 3
    assert rated.answer.parts[0].text.text == LONG
    assert by[("t1", events.FOLLOW_UP_KIND_NONE)].abstain_reason == "CATEGORY_ONLY"
    (proposed,) = house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)
    assert proposed.pair.source == events.PAIR_SOURCE_DEMONSTRATION
    assert proposed.pair.chosen.parts[0].text.text == "Water that flows."
    assert house.counts("feedback.explicit") == {
        ("taken", ""): 4,
        ("made", "thumbs"): 1,
        ("made", "rating"): 1,
        ("made", "demonstration"): 1,
        ("abstained", "CATEGORY_ONLY"): 1,
    }
    assert house.adds_up()


def test_explicit_feedback_waits_for_its_turn(house: House) -> None:
    house.give(given("f1", completion_id="c1-1", thumbs_up=False, comment="shorter please"))
    house.settle()
    assert house.counts("feedback.explicit") == {
        ("taken", ""): 1,
        ("waiting", "TURN_NOT_LOGGED"): 1,
    }
    house.chat_with("ada", "c1", "what is a river?", LONG)
    house.settle()
    (label,) = mined(house)
    assert label.kind == events.FOLLOW_UP_KIND_REATTEMPT_WITH_FEEDBACK
    assert house.counts("feedback.explicit") == {("taken", ""): 1, ("made", "thumbs"): 1}
    assert house.counts("feedback.pairs")[("made", "user_guided_rewrite")] == 1


def test_feedback_for_something_never_logged_becomes_a_dead_letter() -> None:
    house = House(explicit_wait_s=0.0)
    house.give(given("f1", completion_id="never", thumbs_up=True))
    house.settle()
    house.settle()
    (letter,) = house.log.records(dead_letters(FEEDBACK_GIVEN))
    assert letter.event.headers["dlq_reason"] == "NEVER_LOGGED"
    assert letter.event.headers["dlq_topic"] == FEEDBACK_GIVEN
    assert house.counts("feedback.explicit") == {("taken", ""): 1, ("dropped", "NEVER_LOGGED"): 1}


def test_while_turns_are_still_to_be_taken_nothing_is_given_up() -> None:
    house = House(explicit_wait_s=0.0)
    house.give(given("f1", completion_id="c1-1", thumbs_up=True))
    house.chat_with("ada", "c1", "what is a river?", LONG)
    drain(house.parts.explicit)
    assert house.parts.sweep.once() == 1
    assert house.counts("feedback.explicit") == {
        ("taken", ""): 1,
        ("waiting", "TURN_NOT_LOGGED"): 1,
    }
    house.settle()
    assert house.counts("feedback.explicit") == {("taken", ""): 1, ("made", "thumbs"): 1}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"completion_id": "x"}, "EMPTY_FEEDBACK"),
        ({"thumbs_up": True}, "NO_TARGET"),
        ({"completion_id": "x", "rating": common.Rating(value=9, min=1, max=5)}, "INVALID_RATING"),
        ({"completion_id": "x", "rating": common.Rating(value=1)}, "INVALID_RATING"),
    ],
)
def test_malformed_feedback_becomes_a_dead_letter(
    house: House, fields: dict[str, object], reason: str
) -> None:
    house.give(given("f1", **fields))
    house.settle()
    (letter,) = house.log.records(dead_letters(FEEDBACK_GIVEN))
    assert letter.event.headers["dlq_reason"] == reason
    assert house.adds_up()


def test_imported_conversations_are_rewritten_by_the_slow_worker() -> None:
    house = House()
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please", channel="import")
    drain(house.parts.turns)
    house.parts.judge.once()
    assert house.parts.workers["rewrite.live"].run_once() is False
    assert house.parts.workers["rewrite.backlog"].run_once() is True


def test_kinds_are_those_of_the_protocol() -> None:
    names = {
        name.removeprefix("FOLLOW_UP_KIND_").lower() for name in dict(events.FollowUpKind.items())
    }
    assert {kind.value for kind in FollowUpKind} == names - {"unspecified"}
