"""Intervals against published and hand-computed values."""

import pytest

from shared.statistics.intervals import (
    bootstrap_mean,
    difference,
    difference_of_rates,
    mean,
    rate,
    wilson,
)


def test_wilson_by_hand() -> None:
    # z² = 3.841459, n = 10, p = 0.8: centre (0.8 + 0.192073) / 1.384146 = 0.716740,
    # half = 1.959964 / 1.384146 · sqrt(0.016 + 0.009604) = 0.226577
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.490162, abs=2e-6), pytest.approx(0.943317, abs=2e-6))


def test_wilson_at_the_ends_stays_within_bounds_and_is_not_empty() -> None:
    # p = 0: high = z² / (n + z²) = 3.841459 / 23.841459
    assert wilson(0, 20) == (0.0, pytest.approx(0.161125, abs=2e-6))
    low, high = wilson(20, 20)
    assert (low, high) == (pytest.approx(1 - 0.161125, abs=2e-6), pytest.approx(1.0))
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilson_refuses_more_successes_than_cases() -> None:
    with pytest.raises(ValueError, match="must lie between"):
        wilson(3, 2)


def test_newcombe_matches_the_published_example() -> None:
    # Newcombe 1998, table II, example (a), method 10: 56/70 − 48/80.
    low, high = difference_of_rates(56, 70, 48, 80)
    assert (low, high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def test_newcombe_with_nothing_on_one_side_says_nothing() -> None:
    assert difference_of_rates(1, 2, 0, 0) == (-1.0, 1.0)


def test_bootstrap_of_a_constant_is_the_constant() -> None:
    assert bootstrap_mean([2.0] * 8) == (2.0, 2.0)


def test_bootstrap_is_seeded_and_near_the_normal_interval() -> None:
    values = [0.0, 1.0] * 50
    low, high = bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) == (low, high)
    # mean 0.5, standard error 0.05: 0.5 ± 0.098
    assert (low, high) == (pytest.approx(0.402, abs=0.02), pytest.approx(0.598, abs=0.02))


def test_bootstrap_by_groups_is_wider_when_cases_of_a_group_agree() -> None:
    values = [0.0] * 50 + [1.0] * 50
    groups = [position // 10 for position in range(100)]  # ten users, each consistent
    low, high = bootstrap_mean(values, groups)
    # ten independent users: standard error 0.158
    assert (low, high) == (pytest.approx(0.2, abs=0.05), pytest.approx(0.8, abs=0.05))


def test_one_group_says_nothing_about_spread() -> None:
    assert bootstrap_mean([0.0, 1.0], ["u", "u"]) == (0.5, 0.5)


def test_a_surer_bootstrap_draws_as_often_as_its_ends_need() -> None:
    values = [0.0, 1.0] * 50
    low, high = bootstrap_mean(values, confidence=0.9999)
    # z = 3.89: 0.5 ± 0.195
    assert (low, high) == (pytest.approx(0.305, abs=0.03), pytest.approx(0.695, abs=0.03))


def test_a_rate_of_independent_cases_is_wilsons() -> None:
    found = rate([1.0, 0.5, 0.0, 1.0], ["a", "b", "c", "d"])
    assert (found.value, found.count, found.groups, found.method) == (0.625, 4, 4, "wilson")
    assert (found.low, found.high) == wilson(2.5, 4)
    assert rate([1.0, 0.5, 0.0, 1.0], confidence=0.99).low == wilson(2.5, 4, 0.99)[0]


def test_a_rate_of_users_with_many_cases_is_wider() -> None:
    found = rate([0.0] * 50 + [1.0] * 50, [n // 25 for n in range(100)])
    low, high = wilson(50, 100)
    assert (found.low, found.high, found.groups) == (0.0, 1.0, 4)
    assert found.low < low < high < found.high


def test_many_cases_of_a_lone_user_count_as_one() -> None:
    found = rate([1.0] * 50, ["ann"] * 50)
    assert (found.low, found.high, found.count, found.groups) == (*wilson(1, 1), 50, 1)


def test_a_rate_of_nothing_says_nothing() -> None:
    found = rate([], [])
    assert (found.value, found.low, found.high, found.count) == (0.5, 0.0, 1.0, 0)
    assert difference(found, rate([1.0])) == (-1.0, 1.0)


def test_the_difference_of_unwidened_rates_is_newcombes() -> None:
    one, other = rate([1.0] * 56 + [0.0] * 14), rate([1.0] * 48 + [0.0] * 32)
    assert difference(one, other) == difference_of_rates(56, 70, 48, 80)


def test_the_difference_of_widened_rates_is_wider() -> None:
    users = [n // 10 for n in range(100)]
    one, other = rate([1.0] * 60 + [0.0] * 40, users), rate([1.0] * 40 + [0.0] * 60, users)
    assert difference(one, other)[0] < difference_of_rates(60, 100, 40, 100)[0]


def test_groups_must_be_as_many_as_outcomes() -> None:
    with pytest.raises(ValueError, match="as many"):
        rate([1.0], ["a", "b"])


def test_a_mean_by_user() -> None:
    found = mean([1.0, 2.0, 6.0], ["a", "a", "b"])
    assert (found.value, found.count, found.groups, found.method) == (3, 3, 2, "bootstrap-by-user")
    assert (found.low, found.high) == bootstrap_mean([1.0, 2.0, 6.0], ["a", "a", "b"])
    assert (mean([]).value, mean([]).low, mean([]).high, mean([]).count) == (0, 0, 0, 0)
