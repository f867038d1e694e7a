"""The weighing of groups of people, by values worked out by hand."""

from collections import Counter

import numpy as np
import pytest

from services.retrain.adapters.objectives.panacea import (
    drawn,
    for_the_worst_off,
    grid,
    row_weights,
)


def test_the_mean_over_the_rows_is_that_of_the_groups_by_their_weights():
    groups, losses = ["few", "many", "many", "many"], np.array([5.0, 1.0, 2.0, 6.0])
    found = row_weights(groups, ["few", "many"], (0.25, 0.75))
    # 0.25 * 4 / 1 for one row, 0.75 * 4 / 3 for each of three: 0.25 * 5 + 0.75 * 3.
    assert found == [1.0] * 4
    assert row_weights(groups, ["few", "many"], (0.7, 0.3)) == pytest.approx([2.8, 0.4, 0.4, 0.4])
    assert (losses * row_weights(groups, ["few", "many"], (0.7, 0.3))).mean() == pytest.approx(4.4)


def test_a_group_without_a_row_has_no_part():
    assert row_weights(["many", "many"], ["few", "many"], (0.6, 0.4)) == pytest.approx([0.4, 0.4])


def test_one_group_is_weighed_as_without_groups():
    assert drawn(1, 7, 0) == (1.0,)
    assert grid(1) == [(1.0,)]
    assert row_weights(["unknown"] * 3, ["unknown"], (1.0,)) == [1.0] * 3


def test_weights_are_drawn_from_the_whole_simplex_and_the_same_again():
    found = np.array([drawn(3, number, 5) for number in range(4000)])
    assert found.sum(axis=1) == pytest.approx(np.ones(4000))
    # Of Dirichlet(1, 1, 1): mean 1 / 3, variance 1 / 18.
    assert found.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.015)
    assert found.var(axis=0) == pytest.approx([1 / 18] * 3, abs=0.005)
    assert drawn(3, 17, 5) == tuple(found[17])
    assert drawn(3, 17, 6) != drawn(3, 17, 5)


def test_what_is_tried_begins_with_the_same_for_all():
    assert grid(2) == [(0.5, 0.5), (0.0, 1.0), (0.25, 0.75), (0.75, 0.25), (1.0, 0.0)]
    three = grid(3)
    assert three[0] == (1 / 3,) * 3 and len(set(three)) == len(three) == 10
    # Four groups: all alike, each alone, each pair.
    assert Counter(map(max, grid(4))) == {0.25: 1, 1.0: 4, 0.5: 6}
    assert all(sum(one) == pytest.approx(1) for count in (2, 3, 4, 5) for one in grid(count))


def test_the_weights_are_taken_at_which_the_worst_off_is_best_off():
    losses: dict[tuple[float, ...], tuple[float, ...]]
    losses = {(0.5, 0.5): (0.5, 0.9), (0.0, 1.0): (0.8, 0.2), (0.25, 0.75): (0.6, 0.6)}
    assert for_the_worst_off(losses) == (0.25, 0.75)
    # As good: the first.
    assert for_the_worst_off({(0.5, 0.5): (0.6, 0.1), (1.0, 0.0): (0.2, 0.6)}) == (0.5, 0.5)
