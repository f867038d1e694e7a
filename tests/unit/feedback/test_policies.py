"""Feedback, and each kind of pair, belongs to the policy whose answer it judges."""

from collections.abc import Callable
from typing import Any

import pytest

from shared.contracts.messages import encode_message
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.messages import text_message
from shared.language.topics import (
    FEEDBACK_MINED,
    PREFERENCE_GIVEN,
    PREFERENCE_MINED,
    PREFERENCE_PROPOSED,
)
from shared.log.events import Event
from tests.unit.feedback.house import LONG, NOW, SHORT, House, turn

QUESTION = "what is a river?"
ANSWER = "A river is a large natural stream of fresh water that flows to the sea."


def said(index: int, text: str, policy: str, conversation: str = "c1") -> common.Turn:
    made = turn("ada", conversation, index, text)
    made.policy = policy
    if index % 2:
        made.model_version = f"{policy or 'assistant'}-v1"
    return made


def chat(house: House, policy: str, *texts: str, conversation: str = "c1") -> None:
    house.log_turns(*(said(n, text, policy, conversation) for n, text in enumerate(texts)))


def explicit(house: House, **value: Any) -> None:
    name = f"f-{len(house.published(FEEDBACK_MINED, events.FeedbackMined))}"
    given = common.ExplicitFeedback(feedback_id=name, tenant="local", user_id="ada", **value)
    given.create_time.FromDatetime(NOW)
    house.give(given)
    house.settle()


def regenerated(answer: common.Turn, text: str, policy: str) -> common.Turn:
    made = common.Turn()
    made.CopyFrom(answer)
    made.signal, made.replaces_turn_id = common.TURN_SIGNAL_REGENERATION, answer.turn_id
    made.turn_id, made.completion_id, made.policy = "t1-again", "c1-1-again", policy
    made.message.CopyFrom(encode_message(text_message("assistant", text)))
    return made


def rewrite(house: House, policy: str) -> None:
    chat(house, policy, QUESTION, LONG, "make it shorter please")


def demonstration(house: House, policy: str) -> None:
    chat(house, policy, QUESTION, ANSWER)
    explicit(house, completion_id="c1-1", demonstration=SHORT)


def edit(house: House, policy: str) -> None:
    chat(house, policy, QUESTION, ANSWER)
    explicit(house, completion_id="c1-1", demonstration=ANSWER.replace("large ", ""))


def regeneration(house: House, policy: str) -> None:
    chat(house, policy, QUESTION, LONG)
    first = said(1, LONG, policy)
    house.log_turns(regenerated(first, ANSWER, policy), said(2, "thanks", policy))


def version_contrast(house: House, policy: str) -> None:
    chat(house, policy, QUESTION, f"{ANSWER} So says one.")
    longer = f"{ANSWER} So says two, at length."
    later = [said(n, text, policy, "c2") for n, text in enumerate((QUESTION, longer))]
    later[1].model_version = f"{policy or 'assistant'}-v2"
    house.log_turns(*later)
    explicit(house, completion_id="c1-1", thumbs_up=True)
    explicit(house, completion_id="c2-1", thumbs_up=False)


def reward(house: House, policy: str) -> None:
    """The user has a persona once the first complaint was written up."""
    samples = (
        "A short and good answer indeed.",
        "It goes on, says all of it again in a few other words, and it has no end.",
    )
    house.chat.complete = lambda _, n, *__: samples if n > 1 else ("This user likes it short.",)  # type: ignore[method-assign]
    chat(house, policy, "tell me of lakes", LONG, "make it shorter please", conversation="c0")
    house.settle()
    chat(house, policy, QUESTION, ANSWER, "thanks")


def stated(house: House, policy: str) -> None:
    pair = events.PreferencePair(
        pair_id="p1", tenant="local", user_id="ada", source=events.PAIR_SOURCE_IMPORT, policy=policy
    )
    pair.prompt.append(encode_message(text_message("user", QUESTION)))
    pair.chosen.CopyFrom(encode_message(text_message("assistant", SHORT)))
    pair.rejected.CopyFrom(encode_message(text_message("assistant", LONG)))
    pair.create_time.FromDatetime(NOW)
    value = events.PreferenceGiven(pair=pair).SerializeToString()
    house.log.publish([Event(PREFERENCE_GIVEN, "p1", "k", value, "test", NOW)])


SOURCES: list[tuple[Callable[[House, str], None], str]] = [
    (rewrite, "USER_GUIDED_REWRITE"),
    (reward, "USER_BASED_REWARD"),
    (demonstration, "DEMONSTRATION"),
    (edit, "EDIT"),
    (regeneration, "REGENERATION"),
    (version_contrast, "VERSION_CONTRAST"),
    (stated, "IMPORT"),
]


@pytest.mark.parametrize(
    ("make", "source", "policy"),
    [(*one, "support") for one in SOURCES] + [(*one, "") for one in (SOURCES[0], SOURCES[-1])],
)
def test_a_pair_says_whose_answers_it_compares(
    make: Callable[[House, str], None], source: str, policy: str
) -> None:
    house = House(ubr_share=1.0 if make is reward else 0.0)
    make(house, policy)
    house.settle()
    assert house.adds_up()
    number = events.PairSource.Value(f"PAIR_SOURCE_{source}")
    mined = [e.pair for e in house.published(PREFERENCE_MINED, events.PreferenceMined)]
    assert {pair.policy for pair in mined if pair.source == number} == {policy}
    proposed = [e.pair for e in house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)]
    assert {pair.policy for pair in proposed} <= {policy}
    found = house.published(FEEDBACK_MINED, events.FeedbackMined)
    assert {one.policy for one in found} == (set() if make is stated else {policy})


def test_a_follow_up_to_another_policy_judges_the_answer_before_it() -> None:
    house = House()
    house.log_turns(said(0, QUESTION, "support"), said(1, LONG, "support"))
    house.log_turns(said(2, "make it shorter please", "sales"), said(3, SHORT, "sales"))
    house.log_turns(said(4, "thanks", "sales"))
    house.settle()
    found = house.published(FEEDBACK_MINED, events.FeedbackMined)
    assert {one.answer_turn_id: one.policy for one in found} == {"t1": "support", "t3": "sales"}
    (pair,) = (e.pair for e in house.published(PREFERENCE_MINED, events.PreferenceMined))
    assert pair.policy == "support"


@pytest.mark.parametrize(("one", "other", "pairs"), [("support", "sales", 0), ("", "assistant", 1)])
def test_versions_are_contrasted_within_one_policy(one: str, other: str, pairs: int) -> None:
    house = House()
    chat(house, one, QUESTION, f"{ANSWER} So says one.")
    later = [said(n, t, other, "c2") for n, t in enumerate((QUESTION, f"{ANSWER} So says two."))]
    later[1].model_version = "assistant-v2"
    house.log_turns(*later)
    explicit(house, completion_id="c1-1", thumbs_up=True)
    explicit(house, completion_id="c2-1", thumbs_up=False)
    assert len(house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)) == pairs


@pytest.mark.parametrize(("other", "pairs"), [("sales", 0), ("support", 1)])
def test_an_answer_that_another_policy_gave_instead_is_no_pair(other: str, pairs: int) -> None:
    house = House()
    chat(house, "support", QUESTION, LONG)
    house.log_turns(regenerated(said(1, LONG, "support"), ANSWER, other), said(2, "thanks", other))
    house.settle()
    assert len(house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)) == pairs
    assert house.adds_up()


@pytest.mark.parametrize(("other", "kept"), [("sales", 2), ("support", 1)])
def test_what_is_alike_for_two_policies_is_no_repetition(other: str, kept: int) -> None:
    house = House()
    for policy, conversation in (("support", "c1"), (other, "c2")):
        chat(house, policy, QUESTION, LONG, conversation=conversation)
        explicit(house, completion_id=f"{conversation}-1", demonstration=SHORT)
    mined = [e.pair for e in house.published(PREFERENCE_MINED, events.PreferenceMined)]
    assert len(mined) == kept
