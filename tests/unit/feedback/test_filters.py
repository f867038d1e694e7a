"""Filters of pairs, each by itself and all of them on the service's way to a proposal."""

import numpy as np
import pytest

from services.feedback.pairs.app.filters import duplicates, language, leakage, prompts
from services.feedback.pairs.codec import encode_stored_pair
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.language.paging import Term
from shared.language.topics import PREFERENCE_PROPOSED
from tests.unit.feedback.house import LONG, NOW, House

PAIRS = "feedback.pairs"


def test_the_similarity_is_that_of_the_sets_of_five_characters() -> None:
    assert duplicates.shingles("A  river") == {"a riv", " rive", "river"}
    assert duplicates.shingles("Abc") == {"abc"}
    # abcde bcdef cdefg | abcde bcdef cdefh: two of four.
    assert duplicates.jaccard("abcdefg", "abcdefh") == 0.5
    assert duplicates.jaccard("The same  text.", "the same text.") == 1.0


def test_signatures_agree_as_often_as_the_sets_are_similar() -> None:
    """The share of agreeing rows estimates the similarity: 120 rows, standard error below 0.046.
    Bands agree with probability similarity^5."""
    random = np.random.default_rng(3)
    words = [f"word{number:03d}" for number in range(400)]
    agreed, expected = 0.0, 0.0
    for _ in range(40):
        text = list(random.choice(words, 60, replace=False))
        other = [*text[:54], *random.choice(words, 6)]
        one, two = " ".join(text), " ".join(other)
        keys, others = duplicates.band_keys(one), duplicates.band_keys(two)
        agreed += len(set(keys) & set(others)) / 24
        expected += duplicates.jaccard(one, two) ** 5
    assert agreed / 40 == pytest.approx(expected / 40, abs=0.06)


def test_the_same_text_has_the_same_keys_and_another_shares_none() -> None:
    one = duplicates.band_keys("A river is a stream of water that flows to the sea.")
    assert one == duplicates.band_keys("a river is  a stream of water that flows to the sea.")
    assert len(set(one)) == 24
    other = duplicates.band_keys("Bake the loaf for forty minutes, then let it cool.")
    assert not set(one) & set(other)


@pytest.mark.parametrize(
    ("feedback", "message", "leaks"),
    [
        ("please make it much shorter", "Rivers? Please make it much shorter!", True),
        ("please make it much shorter", "Rivers? Make it much longer.", False),
        # Runs: too long use, long use a, use a list. One of three is there; two are.
        ("too long, use a list", "that was long, use a table", False),
        ("too long, use a list", "so long use a list", True),
        ("shorter please", "About rivers, shorter please", True),
        ("shorter please", "shorter rivers please", False),
        ("shorter", "shorter rivers", False),
        ("", "anything", False),
    ],
)
def test_leaks_are_runs_of_the_feedback_in_the_prompt(
    feedback: str, message: str, leaks: bool
) -> None:
    assert leakage.leaks(feedback, message, 0.5) is leaks


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The river flows to the sea and it is long.", "en"),
        ("Der Fluss ist lang und fließt nicht in die Berge.", "de"),
        ("Le fleuve est long et il coule dans les plaines.", "fr"),
        ("El río es largo y las aguas son frías como el hielo.", "es"),
        ("Il fiume è lungo e le acque sono fredde come il ghiaccio.", "it"),
        ("O rio é longo e não para até o mar, como você sabe.", "pt"),
        ("Het water van de rivier is niet koud en de zee ook niet.", "nl"),
        ("Река течёт к морю.", "cyrillic"),
        ("川は海へ流れます。", "cjk"),
        ("ok", ""),
        ("Paris, Berlin, Madrid", ""),
        ("12 + 4 = 16", ""),
    ],
)
def test_languages_are_told_by_script_and_common_words(text: str, found: str) -> None:
    assert language.language_of(text) == found


def test_a_language_that_was_asked_for_is_no_mismatch() -> None:
    english = "What is the length of the river and where is it?"
    german = "Der Fluss ist lang und fließt nicht in die Berge."
    assert language.mismatch(english, german, "shorter please")
    assert not language.mismatch(english, german, "auf deutsch bitte")
    assert not language.mismatch("Translate: the river is long and it is cold", german, "")
    assert not language.mismatch(english, "Paris, Berlin", "")
    assert not language.mismatch(english, english, "")


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ("", "PROMPT_NO_WORDS"),
        ("?? 12 !!", "PROMPT_NO_WORDS"),
        ("Hello there!", "PROMPT_SMALL_TALK"),
        ("ok thanks", "PROMPT_SMALL_TALK"),
        ("rivers", "PROMPT_TOO_SHORT"),
        ("buy now " * 8, "PROMPT_REPETITION"),
        ("rivers please", ""),
        ("hello, what is a river?", ""),
        ("川とは", ""),
    ],
)
def test_requests_too_poor_to_learn_from(request_: str, problem: str) -> None:
    assert prompts.problem_of(request_, "Rivers are long.", 2) == problem


@pytest.mark.parametrize("request_", ["Yes, please.", "25", "marriage"])
def test_who_answers_a_question_may_be_short(request_: str) -> None:
    assert prompts.problem_of(request_, "A river is long. Shall I say more? ", 2) == ""
    assert prompts.problem_of(request_, "", 2) != ""


def listed(house: House, state: str) -> list[pb.Pair]:
    page = house.parts.pairs.page("local", [Term("state", "=", state)], None, 100)
    return [encode_stored_pair(stored) for stored in page.items]


def reasons(house: House) -> list[str]:
    assert house.adds_up()
    assert len(house.published(PREFERENCE_PROPOSED, events.PreferenceProposed)) == len(
        listed(house, "kept")
    )
    filtered = [pair.reason for pair in listed(house, "filtered")]
    counts = house.counts(PAIRS)
    assert {reason: counts[("dropped", reason)] for reason in set(filtered)} == {
        reason: filtered.count(reason) for reason in set(filtered)
    }
    return filtered


def test_the_same_wish_on_the_same_request_twice_is_one_pair_of_each_user() -> None:
    house = House()
    for user in ("ada", "ben"):
        for number in range(2):
            house.chat_with(user, f"{user}{number}", "what is a river?", LONG, "shorter please")
    house.settle()
    assert reasons(house) == ["NEAR_DUPLICATE", "NEAR_DUPLICATE"]
    assert {pair.pair.user_id for pair in listed(house, "kept")} == {"ada", "ben"}


def test_the_same_answer_to_another_request_is_another_pair() -> None:
    house = House()
    house.chat_with("ada", "c1", "what is a river?", LONG, "shorter please")
    house.chat_with("ada", "c2", "how do glaciers melt?", LONG, "shorter please")
    house.settle()
    assert reasons(house) == []


def test_poor_prompts_and_leaks_are_filtered_with_their_reason() -> None:
    house = House()
    house.chat_with("ada", "c1", "hello!", LONG, "shorter please")
    house.chat_with("ben", "c2", "a river, shorter please", LONG, "shorter please")
    house.settle()
    assert sorted(reasons(house)) == ["FEEDBACK_IN_PROMPT", "PROMPT_SMALL_TALK"]


def test_a_demonstration_in_another_language_is_filtered() -> None:
    house = House()
    house.chat_with("ada", "c1", "What is the river and where is the sea that it flows to?", LONG)
    given = common.ExplicitFeedback(
        feedback_id="f1",
        tenant="local",
        user_id="ada",
        completion_id="c1-1",
        demonstration="Der Fluss ist lang und fließt nicht in die Berge.",
    )
    given.create_time.FromDatetime(NOW)
    house.give(given)
    house.settle()
    assert reasons(house) == ["LANGUAGE_MISMATCH"]


def corrected(house: House, user: str, answer: str, better: str) -> None:
    house.chat_with(user, f"of-{user}", "what is a river?", answer)
    given = common.ExplicitFeedback(
        feedback_id=f"of-{user}",
        tenant="local",
        user_id=user,
        completion_id=f"of-{user}-1",
        demonstration=better,
    )
    given.create_time.FromDatetime(NOW)
    house.give(given)


def test_an_offensive_answer_is_not_learnt_from_but_a_better_one_is() -> None:
    house = House()
    corrected(house, "ada", LONG, "A river is what a blockhead asks about.")
    corrected(house, "ben", f"{LONG} You blockhead.", "A river is water that flows.")
    house.settle()
    assert reasons(house) == ["TOXIC_ANSWER"]
    assert [pair.pair.user_id for pair in listed(house, "kept")] == ["ben"]


def test_filters_can_be_set_aside() -> None:
    house = House(
        prompt_min_words=0,
        leak_share=2.0,
        duplicate_jaccard=2.0,
        same_language=False,
        max_offence=2.0,
    )
    for number in range(2):
        house.chat_with("ada", f"c{number}", "hello shorter please", LONG, "shorter please")
    corrected(house, "ben", LONG, "Short, blockhead.")
    house.settle()
    assert reasons(house) == []
    assert len(listed(house, "kept")) == 3
