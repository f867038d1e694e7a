"""The probabilities of groups, by hand; and patience, which is no taste."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from services.reward.domain import Answer, Group, Pair, People, WellBeing
from services.reward.learning.belonging import EVERYBODY, Belonging
from services.reward.learning.bradley_terry import fit
from services.reward.learning.fitting import GroupReward, Model, Reward
from services.reward.learning.groups import Comparisons, choose, group
from services.reward.learning.lines import AVERAGE, judged
from services.reward.learning.patience import Patience, integrated, learnt
from services.reward.learning.people import preferences, renamed
from services.reward.learning.table import Scaling, Surface, build
from services.reward.people.domain import Evidence, Learnt
from tests.unit.reward.judged_people import BRIEF, LISTS, THOROUGH, people, pleases, talk

NOBODY_IS_PATIENT, ANY = Patience(0.0, 1e-9), np.array([9.0])


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_probabilities_by_hand() -> None:
    """Two groups, who like more and less of one feature; three of four users are of the first."""
    found = Belonging(
        np.array([[[1.0], [-1.0]], [[2.0], [-2.0]]]), np.array([0.75, 0.25]), NOBODY_IS_PATIENT, ANY
    )
    # A pair with one less of it, and an answer with half more of it that its user was not content with.
    better, worse = np.array([[1.0], [0.0]]), np.array([[2.0], [0.5]])
    levels = np.array([0.0, -1.0])
    first = 0.75 * sigmoid(-2) * sigmoid(-1)
    second = 0.25 * sigmoid(2) * sigmoid(1)
    p = found.probabilities(better, worse, levels, EVERYBODY)
    assert p.tolist() == pytest.approx([first / (first + second), second / (first + second)])
    # Of a user of fold 0 by the rewards that were learnt without that fold.
    first = 0.75 * sigmoid(-1) * sigmoid(-0.5)
    second = 0.25 * sigmoid(1) * sigmoid(0.5)
    p = found.probabilities(better, worse, levels, 0)
    assert p[0] == pytest.approx(first / (first + second))
    # What is out of all bounds counts as the bound.
    odd = found.probabilities(np.array([[99.0]]), np.zeros((1, 1)), np.ones(1), EVERYBODY)
    assert odd.tolist() == found.probabilities(ANY[None], np.zeros((1, 1)), np.ones(1), -1).tolist()


def test_patience_is_integrated_over_and_cancels_between_two_answers() -> None:
    users, ones = np.zeros(2, dtype=np.int64), np.ones(2)
    whole = integrated(np.array([0.3, -0.4]), ones, np.zeros(2), users, 1, Patience(1.0, 2.0))
    assert whole.log_likelihood[0] == pytest.approx(log(sigmoid(0.3) * sigmoid(-0.4)))
    assert (whole.mean[0], whole.variance[0]) == pytest.approx((1.0, 4.0))
    # Against a sum over a fine grid.
    levels, margins = np.array([1.0, 1.0]), np.array([-1.0, 0.5])
    grid = np.linspace(-6, 6, 20_001)
    prior = np.exp(-(((grid - 0.2) / 0.5) ** 2) / 2)
    both = prior / (1 + np.exp(1 - grid)) / (1 + np.exp(-0.5 - grid))
    found = integrated(margins, ones, levels, users, 1, Patience(0.2, 0.5))
    assert found.log_likelihood[0] == pytest.approx(log(both.sum() / prior.sum()), abs=1e-5)
    assert found.mean[0] == pytest.approx((both * grid).sum() / both.sum(), abs=1e-4)


def test_patience_is_learnt_within_bounds() -> None:
    found = learnt(np.array([1.0, -1.0]), np.zeros(2))
    assert (found.mean, found.spread) == (0.0, 0.5)
    found = learnt(np.array([0.7, 0.7]), np.zeros(2))
    assert (found.mean, found.spread) == pytest.approx((0.7, 0.3))
    assert learnt(np.zeros(0), np.zeros(0)) == Patience()


def test_an_offset_is_explained_already() -> None:
    ones = np.ones((100, 1))
    assert fit(ones, np.ones(100), 1e-6, offsets=2.0)[0] + 2 == pytest.approx(
        fit(ones, np.ones(100), 1e-6)[0], abs=0.3
    )
    assert fit(ones, np.ones(100), 1.0, offsets=9.0)[0] < 1e-3


def test_those_who_grumble_are_no_group() -> None:
    """Twenty users of one taste, half of whom are content with nothing."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(20), 12)
    levels = np.tile([0.0] * 6 + [1.0] * 6, 20)
    levels[(users < 10) & (levels > 0)] = -1
    differences = np.abs(rng.normal(size=(240, 1)))
    judged_rows = levels != 0
    differences[judged_rows] = rng.normal(size=(judged_rows.sum(), 1))
    data = Comparisons(differences, np.ones(240), np.ones(240), users, levels)
    assert choose(data, 2, 0.01)[0] == 1
    assert group(data, 2, 0.01).count == 1


def test_a_judged_answer_is_set_against_the_average() -> None:
    answers = [Answer("q", f"{'word ' * n}end.") for n in (1, 5, 30, 60)]
    pairs = [Pair("p", "u", answers[0], answers[3])]
    rows = [*preferences(pairs, []), judged(answers[1], "u", is_content=True)]
    rows.append(judged(answers[2], "v", is_content=False))
    assert (rows[2].better, rows[2].level, rows[1].level) == (AVERAGE, -1, 1)
    table = build([Surface()], rows, lambda _: None)
    every = np.vstack([table.better[:2], table.worse[[0, 2]]])
    assert every.mean(axis=0) == pytest.approx(np.zeros(every.shape[1]), abs=1e-9)
    assert not table.better[2].any()
    assert not table.worse[1].any()
    assert table.answers(np.ones(3, dtype=bool)).shape[0] == 4
    better, worse = table.lengths
    assert (better[2], worse[1]) == (25.0, 25.0)  # of 2, 6, 31 and 61 words


def test_a_new_groups_name_is_none_in_use() -> None:
    reward = Reward(np.zeros(1), 0.0)
    tastes = tuple(GroupReward(name, reward, 3, 9, ()) for name in ("shorter", "lists"))
    model = Model((), Scaling(np.zeros(1), np.ones(1)), reward, (), 1.0, tastes)
    nothing = WellBeing(0, 0, 0, 0)
    groups = tuple(Group(one.name, 3, 9, (), None, None) for one in tastes)  # type: ignore[arg-type]
    people_ = People(groups, nothing, nothing, 0, 0)
    # The first was called "calm"; another was "lists", whose members are elsewhere.
    named, model = renamed(people_, model, ["calm", ""], ["calm", "lists"])
    assert [one.name for one in named.groups] == ["calm", "lists (2)"]
    assert [one.name for one in model.groups] == ["calm", "lists (2)"]


def test_made_up_people_are_as_they_are_said_to_be() -> None:
    said = talk(people({BRIEF: 0.5, THOROUGH: 0.3, LISTS: 0.2}, 100, 1), 1)
    words = sorted(len(one.answer.text.split()) for one in said.judged)
    assert 80 < words[len(words) // 2] < 96
    content: dict[str, list[bool]] = {wish: [] for wish in (BRIEF, THOROUGH, LISTS)}
    for one in said.judged:
        content[said.wish_of[one.user_id]].append(one.is_content)
    share = {wish: sum(every) / len(every) for wish, every in content.items()}
    assert share[BRIEF] < 0.2
    assert share[THOROUGH] > 0.85
    assert share[LISTS] < 0.35
    rewrites = [pleases(one.better.text, said.wish_of[one.user_id]) for one in said.pairs]
    assert 0.7 < sum(rewrites) / len(rewrites) < 0.95


def test_evidence_names_the_newest() -> None:
    said = talk(people({BRIEF: 1.0}, 1, 1), 1, asked=(10, 10))
    of_user = Evidence(tuple(said.pairs), tuple(said.judged))
    assert len(of_user.names("acme")) == 10
    assert all(name.startswith("tenants/acme/") for name in of_user.names("acme"))
    assert Learnt({"a": 0.81, "b": 0.19}, 3).group == "a"
