"""The other answers that were sampled for a pair, and what the reward model makes of them."""

from collections.abc import Sequence

import pytest

from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.topics import PREFERENCE_MINED, PREFERENCE_PROPOSED
from tests.unit.feedback.house import LONG, SHORT, House

SIX, SEVEN, EIGHT = (
    "Here is one short river answer.",
    "A river is water that runs downhill.",
    "A river is fresh water that runs to seas.",
)


def sampled(pair: events.PreferencePair) -> list[tuple[str, float]]:
    return [(one.answer.parts[0].text.text, round(one.reward_margin, 6)) for one in pair.samples]


def answers(house: House, *texts: str) -> None:
    """To whatever asks for several."""
    few = house.chat.complete

    def complete(messages: Sequence[object], n: int, *others: float) -> tuple[str, ...]:
        return texts if n > 1 else few(messages, n, *others)  # type: ignore[arg-type]

    house.chat.complete = complete  # type: ignore[method-assign, assignment]


def test_a_rewrite_has_the_other_candidates_with_what_each_is_above_the_former_answer():
    house = House()
    answers(house, SEVEN, SIX, EIGHT)
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please")
    house.settle()
    (proposed,) = house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)
    assert proposed.pair.chosen.parts[0].text.text == SIX
    assert sampled(proposed.pair) == [(SEVEN, 0.0), (EIGHT, 0.0)]  # nothing has judged them yet
    (kept,) = house.published(PREFERENCE_MINED, events.PreferenceMined)
    # A tenth a word: 88 of the former answer.
    assert kept.pair.reward_margin == pytest.approx(8.2)
    assert sampled(kept.pair) == [(SEVEN, 8.1), (EIGHT, 7.9)]


def test_samples_under_a_persona_are_told_above_the_worst():
    house = House(ubr_share=1.0)
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please")
    house.settle()
    answers(
        house,
        EIGHT,
        "It goes on, says all of it again in a few other words, and it has no end.",
        SIX,
        SEVEN,
    )
    house.chat_with("ada", "c2", "what is a lake?", SHORT, "thanks")
    house.settle()
    pairs = [e.pair for e in house.published(PREFERENCE_MINED, events.PreferenceMined)]
    (pair,) = [p for p in pairs if p.source == events.PAIR_SOURCE_USER_BASED_REWARD]
    assert (pair.chosen.parts[0].text.text, pair.reward_margin) == (SIX, pytest.approx(1.2))
    assert sampled(pair) == [(EIGHT, 0.9), (SEVEN, 1.1)]


def test_a_sample_that_must_not_be_learnt_is_left_out():
    house = House()
    answers(house, SIX, "A river is water, you blockhead, running down.", SEVEN)
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please")
    house.settle()
    (kept,) = house.published(PREFERENCE_MINED, events.PreferenceMined)
    assert [text for text, _ in sampled(kept.pair)] == [SEVEN]
