"""What ratings say, what is seen on an answer's surface, when a model is due."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.reward.domain import (
    Answer,
    Pair,
    Progress,
    Rating,
    TrainingRules,
    comparisons,
    from_ratings,
    recent,
)
from services.reward.learning.features import SURFACE, repeated_trigrams, surface

RULES = TrainingRules()


def _rating(user: str, text: str, satisfaction: float) -> Rating:
    return Rating(f"{user}-{text}", user, Answer("request", text), satisfaction)


def test_ratings_compare_within_a_user() -> None:
    found = from_ratings(
        [_rating("a", "good", 1.0), _rating("a", "bad", 0.0), _rating("b", "other", 0.0)], RULES
    )
    assert [(c.better.text, c.worse.text, c.users, c.weight) for c in found] == [
        ("good", "bad", ("a",), 1.0)
    ]


def test_ratings_compare_across_users_only_if_no_user_gives_any() -> None:
    found = from_ratings([_rating("a", "good", 1.0), _rating("b", "bad", 0.4)], RULES)
    assert [(c.users, c.weight) for c in found] == [(("a", "b"), 0.3)]
    assert from_ratings([_rating("a", "good", 1.0), _rating("b", "nearly", 0.6)], RULES) == []


def test_ratings_weigh_less_beside_enough_pairs_and_nobody_speaks_for_all() -> None:
    def pair(i: int) -> Pair:
        return Pair(f"p{i}", "talker", Answer("r", f"better {i}"), Answer("r", f"worse {i}"))

    ratings = [_rating("a", "good", 1.0), _rating("a", "bad", 0.0)]
    found = comparisons([pair(i) for i in range(200)], ratings, RULES)
    assert sum(c.users == ("talker",) for c in found) == RULES.most_per_user
    assert found[0].better.text == "better 150"
    few = comparisons([pair(i) for i in range(29)], ratings, RULES)
    assert [c.weight for c in few if c.users == ("a",)] == [1.0]


def test_many_ratings_together_weigh_a_quarter_of_the_pairs() -> None:
    pairs = [Pair(f"p{i}", f"u{i}", Answer("r", "b"), Answer("r", "w")) for i in range(40)]
    ratings = [
        _rating(f"rater{i}", text, s) for i in range(100) for text, s in (("g", 1.0), ("b", 0.0))
    ]
    weights = [c.weight for c in comparisons(pairs, ratings, RULES)]
    assert weights[:40] == [1.0] * 40
    assert weights[40:] == [pytest.approx(0.1)] * 100


def test_what_was_said_long_ago_goes_once_there_is_enough_that_is_new() -> None:
    new = datetime(2026, 1, 1, tzinfo=UTC)

    def pair(i: int, said_at: datetime) -> Pair:
        return Pair(f"p{i}", "u", Answer("r", "b"), Answer("r", "w"), said_at)

    old = [pair(i, new - timedelta(days=91)) for i in range(30)]
    assert recent([*old, *(pair(100 + i, new) for i in range(23))], [], RULES)[0][:30] == old
    newer = [pair(100 + i, new) for i in range(24)]
    assert recent([*old, *newer], [], RULES) == (newer, [])
    assert recent([], [], RULES) == ([], [])


@pytest.mark.parametrize(("data", "due"), [(0, 24), (24, 36), (25, 38), (100, 150)])
def test_the_next_model_is_due_after_growth(data: int, due: int) -> None:
    assert RULES.next_due(data) == due


def test_surface_features_by_hand() -> None:
    found = surface("- one two\n- one two three?\n")
    assert len(found) == SURFACE
    # 7 words (list marks are words), one sentence end, two list items, one question
    assert found[0] == pytest.approx(1 / (1 + 2.718281828 ** (-4 * (2.0794415 - 1.6094379))))
    assert found[6:9] == [pytest.approx(0.693147), pytest.approx(1.098612), pytest.approx(0.693147)]
    assert found[9] == pytest.approx((1 + 3 + 3 + 1 + 3 + 3 + 6) / 7 / 5)
    assert found[10] == pytest.approx(1 - 4 / 5)
    assert found[11] == 1.0


def test_repetition_and_an_empty_text() -> None:
    assert repeated_trigrams("a b c a b c".split()) == pytest.approx(0.25)
    assert surface("")[6:] == [0.0] * 6


def test_pairs_are_learnt_from_however_many_ratings_there_are() -> None:
    after_ratings = RULES.trained(Progress(data=1000, due=0, pairs=0, pairs_due=0))
    assert not RULES.is_due(replace(after_ratings, data=1023, pairs=23))
    assert RULES.is_due(replace(after_ratings, data=1024, pairs=RULES.min_data))
