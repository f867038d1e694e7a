"""Which answer is preferred under which tag."""

from dataclasses import replace

import pytest

from services.retrain.domain.tags import brevity, tag, tagged
from shared.language.messages import text_message
from shared.language.pairs import Pair
from tests.unit.retrain.pairs import pair

WORDS = {1: 120, 2: 95, 3: 70, 4: 45, 5: 20}


@pytest.mark.parametrize(
    ("words", "level"),
    [
        *((words, level) for level, words in WORDS.items()),
        (0, 5),
        (33, 4),
        (32, 5),
        (107, 2),
        (108, 1),
        (900, 1),
    ],
)
def test_levels_by_words(words: int, level: int) -> None:
    assert brevity("word " * words) == level


def made(number: int, chosen: int, rejected: int) -> Pair:
    return replace(
        pair(number, "u1"),
        prompt=(text_message("system", "Be kind."), text_message("user", "Hello")),
        chosen=text_message("assistant", "yes " * chosen),
        rejected=text_message("assistant", "no " * rejected),
        reward_margin=1.5,
        feedback_text="Shorter!",
        persona="This user prefers short answers.",
    )


def test_the_tag_names_the_level_of_the_answer_that_is_chosen() -> None:
    found = [tagged(made(n, 20, 95), 1.0, 7) for n in range(400)]
    kept = [one for one in found if one.chosen.text.startswith("yes")]
    turned = [one for one in found if one.chosen.text.startswith("no")]
    # Either as often: 200 of 400, give or take three standard deviations.
    assert len(kept) + len(turned) == 400 and abs(len(kept) - 200) < 30
    assert {one.prompt[0].text for one in kept} == {"Be kind.\n<brevity: 5>"}
    assert {one.prompt[0].text for one in turned} == {"Be kind.\n<brevity: 2>"}
    assert {(one.reward_margin, one.feedback_text) for one in kept} == {(1.5, "Shorter!")}
    assert {(one.reward_margin, one.feedback_text) for one in turned} == {(-1.5, "")}
    assert {one.rejected.text.split()[0] for one in turned} == {"yes"}
    # What is known of the user says the opposite.
    assert {one.persona for one in turned} == {""} and all(one.persona for one in kept)


def test_answers_of_one_level_stay_as_their_user_prefers_them() -> None:
    found = [tagged(made(n, 44, 46), 1.0, 7) for n in range(50)]
    assert {one.chosen.text.split()[0] for one in found} == {"yes"}
    assert {one.prompt[0].text for one in found} == {f"Be kind.\n{tag(4)}"}


def test_a_share_is_tagged_the_same_again_and_the_rest_is_as_it_was() -> None:
    given = [made(n, 20, 95) for n in range(1000)]
    found = [tagged(one, 0.6, 3) for one in given]
    plain = [one for one, before in zip(found, given, strict=True) if one == before]
    assert abs(len(plain) - 400) < 50
    assert found == [tagged(one, 0.6, 3) for one in given]
    assert found != [tagged(one, 0.6, 4) for one in given]
    assert [tagged(one, 0.0, 3) for one in given] == given
