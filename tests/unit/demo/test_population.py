"""The simulated population: seeded, judged by its tastes alone, and loaded with words."""

from collections import Counter
from pathlib import Path

import pytest

from infra.demo.population import DEFAULT, Population, PopulationError, Taste, load

SMALL = """
seed = 3
users = 10
requests = ["a?", "b?", "c?", "d?", "e?"]
kept_back = 2
[behaviour]
complain = 1.0
complain_anyway = 0.0
[[tastes]]
name = "any"
share = 1.0
[shift]
after = 0.5
[[shift.tastes]]
name = "brief"
share = 0.7
max_words = 3
[[shift.tastes]]
name = "lists"
share = 0.3
contains = '(?m)^- '
wish = "use a list"
[wordings]
thanks = ["thanks"]
[wordings.complaints]
max_words = ["{words} words, not {n}"]
contains = ["{wish}!"]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "population.toml"
    path.write_text(text)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Population:
    return load(written(tmp_path, SMALL))


def test_the_shipped_population_is_as_described() -> None:
    shipped = load(DEFAULT)
    assert len(shipped.requests) >= 260
    assert len(set(shipped.requests)) == len(shipped.requests)
    assert len(shipped.wordings.complaints.max_words) >= 25
    assert len(shipped.wordings.thanks) >= 15
    assert shipped.shift_at == 72
    visits = [shipped.visit(number, shifted=True) for number in range(shipped.users)]
    wanted = Counter((v.taste.max_words, v.taste.min_words, *v.segments.items()) for v in visits)
    assert wanted == {
        (40, None, ("reader", "phone")): 120,
        (None, 45, ("reader", "desktop")): 40,
    }
    before = {v.user: v.segments for v in (shipped.visit(n, shifted=False) for n in range(160))}
    assert before == {v.user: v.segments for v in visits}


def test_the_same_seed_gives_the_same_visits_and_reactions(tmp_path: Path) -> None:
    one, two = load(written(tmp_path, SMALL)), load(written(tmp_path, SMALL))
    visits = [one.visit(n, shifted=n > 20) for n in range(40)]
    assert visits == [two.visit(n, shifted=n > 20) for n in range(40)]
    answers = ["one two three four", "short"]
    said = [one.react(visit, 0, answer, True) for visit in visits for answer in answers]
    assert said == [two.react(visit, 0, answer, True) for visit in visits for answer in answers]
    other = load(written(tmp_path, SMALL.replace("seed = 3", "seed = 4")))
    assert visits != [other.visit(n, shifted=n > 20) for n in range(40)]


def test_every_user_comes_once_a_round(small: Population) -> None:
    users = [small.visit(n, shifted=False).user for n in range(20)]
    assert sorted(users[:10]) == sorted(users[10:]) == [f"u00{n}" for n in range(10)]


def test_shares_hold_exactly_after_the_shift(small: Population) -> None:
    before = {small.visit(n, shifted=False).taste.name for n in range(10)}
    after = [small.visit(n, shifted=True).taste.name for n in range(10)]
    assert before == {"any"}
    assert (after.count("brief"), after.count("lists")) == (7, 3)
    assert small.shift_at == 15


def test_nobody_sends_a_request_that_was_kept_back(small: Population) -> None:
    sent = {request for n in range(200) for request in small.visit(n, shifted=False).requests}
    assert sent == set(small.requests) - set(small.kept_requests)
    assert len(small.kept_requests) == 2


@pytest.mark.parametrize(
    ("taste", "answer", "rule"),
    [
        (Taste(name="t", share=1), "anything at all", None),
        (Taste(name="t", share=1, max_words=3), "one two three", None),
        (Taste(name="t", share=1, max_words=3), "one two three four", "max_words"),
        (Taste(name="t", share=1, min_words=2), "one", "min_words"),
        (Taste(name="t", share=1, contains=r"\d", wish="w"), "none", "contains"),
        (Taste(name="t", share=1, lacks="(?i)sorry", wish="w"), "I am Sorry", "lacks"),
        (Taste(name="t", share=1, max_words=3, lacks="x", wish="w"), "a x", "lacks"),
    ],
)
def test_a_taste_is_broken_by_the_text_alone(taste: Taste, answer: str, rule: str | None) -> None:
    assert taste.broken_rule(answer) == rule


def test_a_complaint_names_the_limit_and_content_gets_thanks(small: Population) -> None:
    visit = next(v for v in (small.visit(n, True) for n in range(10)) if v.taste.max_words)
    assert small.react(visit, 0, "one two three four", more=True).text == "4 words, not 3"
    assert {small.react(visit, step, "ok", more=False).act for step in range(50)} == {
        "thank",
        "silent",
    }


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("users = 10", "users = 0", "users"),
        ("max_words = 3", "max_words = -3", "shift.tastes.0.max_words"),
        ("contains = '(?m)^- '", "contains = '('", "shift.tastes.1.contains"),
        ("share = 0.7", "share = 0.6", "the shares in `shift.tastes` add up to 0.9"),
        ("kept_back = 2", "kept_back = 5", "`requests` must hold more than `kept_back` = 5"),
        ("complain = 1.0", "complan = 1.0", "behaviour.complan"),
        ('wish = "use a list"', "", "`wish` must say"),
        ('contains = ["{wish}!"]', "", "`wordings.complaints.contains` is empty"),
        ("seed = 3", "seed = ", "Invalid value"),
    ],
)
def test_a_wrong_file_is_refused_by_the_name_of_its_field(
    tmp_path: Path, old: str, new: str, named: str
) -> None:
    assert old in SMALL
    with pytest.raises(PopulationError) as refused:
        load(written(tmp_path, SMALL.replace(old, new)))
    assert named in str(refused.value)
    assert "population.toml" in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PopulationError, match=r"nowhere\.toml"):
        load(tmp_path / "nowhere.toml")
