"""How pairs change answers, as evidence of groups: by hand, and against numbers it must not be misled by."""

from __future__ import annotations

from collections import Counter
from math import exp, log
from typing import Any

import numpy as np
import pytest

from services.reward.learning import changes
from services.reward.learning.belonging import EVERYBODY, Belonging
from services.reward.learning.changes import Discriminants, by_group, learn
from services.reward.learning.groups import Grouping, choose, group
from services.reward.learning.patience import Patience
from services.reward.learning.people import preferences
from services.reward.learning.table import Surface, build, taste_space
from tests.unit.reward.judged_people import BRIEF, LISTS, THOROUGH, people, talk

# Two users of the first group, one of the second; a weight of 10 makes a group's own mean count as PRIOR does.
CHANGES = np.array([[3.0], [1.0], [-2.0]])
WEIGHTS = np.array([5.0, 5.0, 10.0])
USERS = np.array([0, 1, 2])
GROUPS = np.array([0, 0, 1])
# Everybody's mean is 0; the groups' are 2 and -2, halfway to it 1 and -1. About those: 5·4 + 5·0 + 10·1 of 20.
VARIANCE = 1.5 * 1.1


def evidence(first: float, second: float, shares: tuple[float, float] = (0.5, 0.5)) -> list[float]:
    """Of densities in the two groups."""
    whole = shares[0] * first + shares[1] * second
    return [log(0.9 * one / whole + 0.1) for one in (first, second)]


def density(x: float, mean: float) -> float:
    return exp(-((x - mean) ** 2) / VARIANCE / 2)


def test_discriminants_by_hand() -> None:
    found = learn(CHANGES, WEIGHTS, GROUPS, 2)
    assert found.coefficients.ravel() == pytest.approx([1 / VARIANCE, -1 / VARIANCE])
    assert found.offsets == pytest.approx([-0.5 / VARIANCE] * 2)
    assert found.shares.tolist() == [0.5, 0.5]
    assert found.log_ratios(np.array([[2.0]]))[0] == pytest.approx(
        evidence(density(2, 1), density(2, -1))
    )
    # However far it goes, one pair is at most ten times less likely in the other group.
    assert found.log_ratios(np.array([[99.0]]))[0] == pytest.approx([log(1.9), log(0.1)])


def test_a_group_with_more_pairs_is_expected_more_often() -> None:
    one = Discriminants(np.array([[1.0], [0.0]]), np.zeros(2), np.array([0.75, 0.25]))
    assert one.log_ratios(np.array([[log(3)]]))[0] == pytest.approx(evidence(3, 1, (0.75, 0.25)))


def test_own_pairs_are_left_out_of_their_own_groups_mean() -> None:
    found = by_group(CHANGES, WEIGHTS, USERS, GROUPS, 2)
    # Beside user 0 the first group has 5 of +1, beside PRIOR 10 of 0; beside user 2 the second has nothing.
    assert found[0] == pytest.approx(evidence(density(3, 1 / 3), density(3, -1)))
    assert found[2] == pytest.approx(evidence(density(-2, 1), density(-2, 0)))


def test_who_is_in_no_group_counts_in_none_and_is_judged() -> None:
    found = by_group(
        np.vstack([CHANGES, [[4.0]]]), np.append(WEIGHTS, 5.0), np.append(USERS, 3),
        np.append(GROUPS, -1), 2,
    )  # fmt: skip
    assert found[:3] == pytest.approx(by_group(CHANGES, WEIGHTS, USERS, GROUPS, 2))
    assert found[3] == pytest.approx(evidence(density(4, 1), density(4, -1)))


def test_a_users_pairs_add_up_and_who_has_none_says_nothing() -> None:
    users = np.array([0, 0, 2])
    found = by_group(CHANGES, WEIGHTS, users, GROUPS, 2)
    # Both of user 0's are the first group's whole mean: left out, it is everybody's.
    first = [evidence(density(one, 0), density(one, -1)) for one in (3, 1)]
    assert found[0] == pytest.approx(np.sum(first, axis=0))
    assert found[1].tolist() == [0, 0]
    none = np.zeros(0)
    assert not by_group(np.zeros((0, 1)), none, none.astype(np.int64), GROUPS, 2).any()


def test_pairs_that_change_nothing_say_nothing() -> None:
    assert by_group(np.zeros((3, 2)), WEIGHTS, USERS, GROUPS, 2) == pytest.approx(np.zeros((3, 2)))


def test_probabilities_by_how_answers_were_changed() -> None:
    """In fold 0 the first group's pairs have more of it; in everybody's, as many as the second's."""
    told = Discriminants(np.array([[1.0], [-1.0]]), np.zeros(2), np.array([0.5, 0.5]))
    silent = Discriminants(np.zeros((2, 1)), np.zeros(2), np.array([0.5, 0.5]))
    found = Belonging(
        np.zeros((2, 2, 1)), np.array([0.5, 0.5]), Patience(0.0, 1e-9), np.array([9.0]),
        changes=(told, silent),
    )  # fmt: skip
    # A pair that changes it by 1, and an answer that its user was content with, which changes nothing.
    rows = (np.array([[2.0], [5.0]]), np.array([[1.0], [0.0]]), np.array([0.0, 1.0]))
    assert found.probabilities(*rows, EVERYBODY).tolist() == [0.5, 0.5]
    first, second = np.exp(evidence(exp(1), exp(-1)))
    assert found.probabilities(*rows, 0)[0] == pytest.approx(first / (first + second))


def test_how_many_groups_there_are_is_told_without_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However differently answers are rewritten, that founds no group."""
    said = talk(people({BRIEF: 0.5, THOROUGH: 0.5}, 40, 1), 1)
    table = build([Surface()], preferences(said.pairs, said.judged), lambda _: None)
    data, asked = taste_space(table), list[int]()

    def heard(*rows: Any) -> Any:
        asked.append(rows[-1])
        return by_group(*rows)

    monkeypatch.setattr(changes, "by_group", heard)
    assert choose(data, 3, 0.01)[0] == 2
    assert asked == []
    assert group(data, 2, 0.01).count == 2
    assert set(asked) == {2}


def found_rightly(users: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """The share of made-up users whose group is their wish's, by all they say and without changes; three groups
    each time."""
    said = talk(people({BRIEF: 0.6, LISTS: 0.3, THOROUGH: 0.1}, users, seed), seed)
    table = build([Surface()], preferences(said.pairs, said.judged), lambda _: None)
    data = taste_space(table)

    def share(found: Grouping) -> float:
        assert found.count == 3
        wishes = [
            [
                said.wish_of[user]
                for user, one in zip(table.names, found.of_user, strict=True)
                if one == k
            ]
            for k in range(3)
        ]
        return sum(Counter(one).most_common(1)[0][1] for one in wishes) / users

    by_all = share(group(data, 3, 0.01))
    monkeypatch.setattr(changes, "by_group", lambda *rows: np.zeros((users, rows[-1])))
    return by_all, share(group(data, 3, 0.01))


@pytest.mark.parametrize(
    ("users", "seed", "least", "without"), [(100, 1, 0.97, 0.89), (100, 3, 0.97, 0.81)]
)
def test_changes_tell_apart_whom_orders_do_not(
    users: int, seed: int, least: float, without: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_all, by_orders = found_rightly(users, seed, monkeypatch)
    assert by_all >= least
    assert by_orders <= without


def test_no_group_is_lost_by_heeding_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of sixty users six are thorough, and would be joined to the friends of lists."""
    by_all, by_orders = found_rightly(60, 2, monkeypatch)
    assert by_all == by_orders > 0.8
