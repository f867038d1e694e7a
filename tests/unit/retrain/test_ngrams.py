"""Phrases that stand out in chosen answers: the score by hand, and whose words are told."""

from __future__ import annotations

from typing import Any

import pytest

from services.retrain.domain.ngrams import Phrase, Phrases, phrases_of, words_of, z_score
from shared.language.messages import text_message
from shared.language.pairs import Pair
from tests.unit.retrain.pairs import TRAINED, pair


def said(number: int, user: str, chosen: str, rejected: str = "No words here.") -> Pair:
    return pair(
        number,
        user,
        chosen=text_message("assistant", chosen),
        rejected=text_message("assistant", rejected),
    )


def approximately(value: float) -> Any:
    return pytest.approx(value, abs=1e-4)


def taught(users: int) -> list[Pair]:
    """Ten pairs of so many users teach one phrase, ten of ten users another."""
    return [
        *(said(n, TRAINED[n % users], "Open sesame now!") for n in range(10)),
        *(said(10 + n, TRAINED[n], "Open the door.") for n in range(10)),
    ]


def test_the_score_is_the_papers() -> None:
    # Of 50 answers 9 and 1; the prior is 0.1 * 10 = 1 of 0.1 * 100 = 10: log(10 / 50) - log(2 / 58), over the
    # root of 1/10 + 1/50 + 1/2 + 1/58.
    assert z_score(9, 1, 50) == approximately(2.2021)
    assert z_score(1, 9, 50) == -z_score(9, 1, 50)
    assert z_score(5, 5, 20) == 0.0


def test_phrases_are_told_with_their_answers_and_users() -> None:
    found = phrases_of(taught(users=3))
    # Of 20 answers 20, the prior is 2 of 4: log(22 / 2) - log(2 / 22), over the root of 1/22 + 1/2 + 1/2 +
    # 1/22. Of 10, it is 1 of 4: log(11 / 13) - log(1 / 23), over the root of 1/11 + 1/13 + 1 + 1/23.
    high, low = approximately(4.5916), approximately(2.6971)
    assert found == Phrases(
        pairs=20,
        users=10,
        few_users=3,
        few=(Phrase("open sesame now", 10, 0, 3, low),),
        few_total=1,
        many=(Phrase("open", 20, 0, 10, high), Phrase("open the door", 10, 0, 10, low)),
        many_total=2,
    )


def test_of_fewer_than_three_users_there_is_only_the_number() -> None:
    found = phrases_of(taught(users=2))
    assert [one.words for one in found.many] == ["open", "open the door"]
    assert (found.few, found.few_total, found.withheld) == ((), 0, 1)
    assert "sesame" not in repr(found)


def test_few_are_a_tenth_of_many_users() -> None:
    others = [said(100 + n, TRAINED[n], f"Well {n}.") for n in range(41)]
    found = phrases_of([*taught(users=5), *others])
    assert (found.users, found.few_users) == (41, 5)
    assert [(one.words, one.users) for one in found.few] == [("open sesame now", 5)]


def test_an_answer_that_repeats_itself_counts_once() -> None:
    pairs = [said(n, TRAINED[n], "No, no, no, no." if n < 2 else "Open sesame.") for n in range(9)]
    found = phrases_of(pairs)
    assert [(one.words, one.chosen, one.users) for one in found.many] == [("open sesame", 7, 7)]
    assert (found.few_total, found.withheld) == (0, 0)


def test_what_both_sides_say_alike_and_what_few_answers_say_is_left_out() -> None:
    assert phrases_of([]) == Phrases()
    alike = [said(n, TRAINED[n], "The same words.", "The same words.") for n in range(10)]
    rare = [said(n, TRAINED[n], "Open sesame now!") for n in range(2)]
    for pairs in (alike, rare):
        found = phrases_of(pairs)
        assert (found.few, found.many, found.withheld) == ((), (), 0)


def test_words_are_of_any_script_and_signs_that_are_no_punctuation() -> None:
    assert words_of("Don't SHOUT — *naïve* 漢字 (2) 🚀!") == [
        *("don't", "shout", "naïve", "漢字", "2", "🚀"),
    ]
