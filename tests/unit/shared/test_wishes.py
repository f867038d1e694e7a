"""What complaints ask for."""

import pytest

from infra.demo.population import DEFAULT, load
from shared.language.wishes import ASKED_FOR, INSTRUCTIONS, can_be_counted, does_more, marks, wishes


@pytest.mark.parametrize(
    ("complaint", "found"),
    [
        ("That's too long. Please answer in at most 35 words.", {"length": "shorter"}),
        ("Too brief, explain it properly in at least 45 words.", {"length": "longer"}),
        ("Please use a bullet list, and keep it short", {"form": "list", "length": "shorter"}),
        ("No lists please", {"form": "prose"}),
        ("No, please use a list.", {"form": "list"}),
        ("That's not how I want it: use a list.", {"form": "list"}),
        ("Not like that. use bullet points.", {"form": "list"}),
        ("Please don't use bullet points", {"form": "prose"}),
        ("Don’t give me a bulleted list", {"form": "prose"}),
        ("I did not want a numbered list!", {"form": "prose"}),
        ("without any lists", {"form": "prose"}),
        ("Prose instead of bullets", {"form": "prose"}),
        ("The second step is wrong", {}),
        ("Say it step by step", {"form": "list"}),
        ("Less formal, please", {"tone": "casual"}),
        ("Don't be so formal!", {"tone": "casual"}),
        ("Not formal enough", {"tone": "formal"}),
        ("That is too casual for a letter", {"tone": "formal"}),
        ("No emojis, please", {"tone": "formal"}),
        ("Fewer jokes and more emojis", {}),
        ("Less jargon, fewer words", {"length": "shorter"}),
        ("Too technical", {}),
        ("More detail, but at most 100 words", {}),
        ("That's not what I asked.", {}),
        ("", {}),
    ],
)
def test_a_complaint_asks_for_what_its_words_say(complaint: str, found: dict[str, str]) -> None:
    assert wishes(complaint) == found


def test_a_level_is_read_in_both_directions() -> None:
    assert marks("Too technical") == {("level", "simple")}
    assert marks("Too simple, be more technical") == {("level", "expert")}


def test_whatever_may_be_taught_has_words() -> None:
    assert ASKED_FOR.keys() == INSTRUCTIONS.keys()


@pytest.mark.parametrize(
    ("wish", "more", "less"),
    [
        (("length", "shorter"), "Two words.", "These are four words."),
        (("length", "longer"), "These are four words.", "Two words."),
        (("form", "list"), "So:\n 1. one\n 2. two", "1 and 2 - and 3"),
        (("form", "prose"), "One and two.", "- one"),
        (("form", "table"), "| a | b |\n|---|---|", "a | b"),
    ],
)
def test_what_can_be_counted(wish: tuple[str, str], more: str, less: str) -> None:
    assert can_be_counted(wish)
    assert [does_more(wish, *pair) for pair in ((more, less), (less, more), (more, more))] == [
        1.0,
        0.0,
        0.5,
    ]
    assert not can_be_counted(("tone", "formal"))


def test_most_complaints_of_length_are_understood_and_none_the_wrong_way_round() -> None:
    said = load(DEFAULT).wordings.complaints
    for wordings, wish in ((said.max_words, "shorter"), (said.min_words, "longer")):
        found = [wishes(one.format(n=40, words=57)).get("length") for one in wordings]
        assert set(found) <= {wish, None}
        assert found.count(wish) >= 0.7 * len(found)
    assert [wishes(one) for one in said.anyway] == [{}] * len(said.anyway)
