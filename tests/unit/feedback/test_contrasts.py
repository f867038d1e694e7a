"""Pairs of answers that were really given: regenerations that were kept to, versions on one prompt."""

import pytest

from services.feedback.pairs.app.contrasts import preference
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.topics import PREFERENCE_PROPOSED
from tests.unit.feedback.house import NOW, House, turn

PAIRS = "feedback.pairs"
TURNS = "tenants/local/conversations/c1/turns/"
LONG_ANSWER = "A river is a large natural stream of fresh water that flows to the sea."
SHORT_ANSWER = "Water that flows to the sea, day and night."


def again(index: int, text: str) -> common.Turn:
    made = turn("ada", "c1", index, text)
    made.signal, made.replaces_turn_id = common.TURN_SIGNAL_REGENERATION, made.turn_id
    made.turn_id += "-again"
    made.completion_id += "-again"
    made.model_version = "assistant-v1"
    return made


def proposed(house: House) -> list[events.PreferencePair]:
    house.settle()
    assert house.adds_up()
    return [e.pair for e in house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)]


def text_of(message: common.Message) -> str:
    return message.parts[0].text.text


def thumb(completion: str, up: bool, user: str = "ada", name: str = "") -> common.ExplicitFeedback:
    given = common.ExplicitFeedback(
        feedback_id=name or f"f-{completion}",
        tenant="local",
        user_id=user,
        completion_id=completion,
        thumbs_up=up,
    )
    given.create_time.FromDatetime(NOW)
    return given


def ask(
    house: House, conversation: str, version: str, *, user: str = "ada", text: str = ""
) -> None:
    said = [turn(user, conversation, 0, "what is a river?")]
    said.append(turn(user, conversation, 1, text or f"{LONG_ANSWER} So says {version}."))
    said[1].model_version = version
    house.log_turns(*said)


@pytest.mark.parametrize(
    ("follow_up", "confidence"), [("thanks", 0.95), ("and a lake, then?", 0.95), ("lol", 0.95)]
)
def test_who_goes_on_from_a_regenerated_answer_prefers_it(
    follow_up: str, confidence: float
) -> None:
    house = House()
    house.chat_with("ada", "c1", "what is a river?", LONG_ANSWER)
    house.log_turns(again(1, SHORT_ANSWER), turn("ada", "c1", 2, follow_up))
    (pair,) = proposed(house)
    assert pair.source == events.PAIR_SOURCE_REGENERATION
    assert (text_of(pair.chosen), text_of(pair.rejected)) == (SHORT_ANSWER, LONG_ANSWER)
    assert [text_of(m) for m in pair.prompt] == ["what is a river?"]
    assert pair.evidence == [f"{TURNS}t1", f"{TURNS}t1-again", f"{TURNS}t2"]
    assert (pair.user_id, pair.model_version) == ("ada", "assistant-v0")
    assert pair.confidence == pytest.approx(confidence)
    assert house.counts(PAIRS) == {("taken", ""): 1, ("made", "regeneration"): 1}


def test_who_is_still_dissatisfied_prefers_neither() -> None:
    house = House()
    house.chat_with("ada", "c1", "what is a river?", LONG_ANSWER)
    house.log_turns(again(1, SHORT_ANSWER), turn("ada", "c1", 2, "wrong"))
    assert proposed(house) == []
    assert house.counts(PAIRS) == {("taken", ""): 1, ("abstained", "STILL_DISSATISFIED"): 1}


def test_a_regeneration_that_nobody_went_on_from_says_nothing() -> None:
    house = House()
    house.chat_with("ada", "c1", "what is a river?", LONG_ANSWER)
    house.log_turns(again(1, SHORT_ANSWER))
    assert proposed(house) == []
    house.log_turns(turn("ada", "c1", 2, "maybe"))  # a label that abstains
    assert proposed(house) == []
    assert house.counts(PAIRS) == {}


def test_the_same_answer_again_is_no_pair() -> None:
    house = House()
    house.chat_with("ada", "c1", "what is a river?", LONG_ANSWER)
    house.log_turns(again(1, f" {LONG_ANSWER}"), turn("ada", "c1", 2, "thanks"))
    assert proposed(house) == []
    assert house.counts(PAIRS)[("abstained", "SAME_AS_ANSWER")] == 1


def test_two_versions_on_one_prompt_are_told_apart_by_what_their_user_said() -> None:
    house = House()
    ask(house, "c1", "assistant-v0")
    ask(house, "c2", "assistant-v1")
    house.give(thumb("c1-1", up=True))
    house.give(thumb("c2-1", up=False))
    (pair,) = proposed(house)
    assert pair.source == events.PAIR_SOURCE_VERSION_CONTRAST
    assert text_of(pair.chosen).endswith("assistant-v0.")
    assert text_of(pair.rejected).endswith("assistant-v1.")
    assert (pair.model_version, pair.confidence) == ("assistant-v1", 1.0)
    answers = [name for name in pair.evidence if "/turns/" in name]
    assert answers == [TURNS.replace("c1", "c2") + "t1", f"{TURNS}t1"]
    assert sum("/feedback/" in name for name in pair.evidence) == 2


def test_follow_ups_tell_versions_apart_too() -> None:
    house = House()
    for number, (version, said) in enumerate(
        (("assistant-v0", "wrong"), ("assistant-v1", "thanks"))
    ):
        ask(house, f"c{number}", version)
        house.log_turns(turn("ada", f"c{number}", 2, said))
    (pair,) = proposed(house)
    # Dissatisfied with 0.925 and 0.05: 0.95 * 0.925 / (0.95 * 0.925 + 0.05 * 0.075)
    assert pair.confidence == pytest.approx(0.9958, abs=1e-4)
    assert text_of(pair.chosen).endswith("assistant-v1.")


@pytest.mark.parametrize(
    "case", ["same version", "another user", "both good", "taken back", "reviewer"]
)
def test_what_is_no_contrast_of_versions(case: str) -> None:
    house = House()
    ask(house, "c1", "assistant-v0")
    version = "assistant-v0" if case == "same version" else "assistant-v1"
    owner = "ben" if case in ("another user", "reviewer") else "ada"
    ask(house, "c2", version, user=owner, text=SHORT_ANSWER)
    house.give(thumb("c1-1", up=True))
    if case == "taken back":
        house.settle()
        later = thumb("c1-1", up=False, name="later")
        later.mode = common.FEEDBACK_MODE_REPLACE
        later.create_time.FromSeconds(later.create_time.seconds + 9)
        house.give(later)
        house.settle()
    house.give(
        thumb("c2-1", up=case == "both good", user="ben" if case == "another user" else "ada")
    )
    assert proposed(house) == []
    assert house.counts(PAIRS) == {}


def test_a_correction_that_keeps_most_of_the_answer_is_an_edit() -> None:
    house = House()
    house.chat_with("ada", "c1", "what is a river?", LONG_ANSWER)
    for number, text in enumerate((LONG_ANSWER.replace("large", "wide"), SHORT_ANSWER)):
        given = common.ExplicitFeedback(
            feedback_id=f"f{number}",
            tenant="local",
            user_id="ada",
            completion_id="c1-1",
            demonstration=text,
        )
        given.create_time.FromDatetime(NOW)
        house.give(given)
    found = {pair.source: pair for pair in proposed(house)}
    assert set(found) == {events.PAIR_SOURCE_EDIT, events.PAIR_SOURCE_DEMONSTRATION}
    edit = found[events.PAIR_SOURCE_EDIT]
    assert (text_of(edit.rejected), edit.confidence) == (LONG_ANSWER, 1.0)


def test_what_two_judgements_say_together() -> None:
    assert preference(0.0, 1.0) == 1.0
    assert preference(0.5, 0.9) == pytest.approx(0.9)
    assert preference(0.2, 0.8) == pytest.approx(0.64 / 0.68)
