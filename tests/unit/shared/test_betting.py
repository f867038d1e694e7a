"""Tests by betting: exact values, and how often they are wrong."""

import math

import numpy as np
import pytest

from shared.statistics.betting import (
    GRID,
    MOST_WAITING,
    START,
    RolloutTest,
    bet,
    log_mean_exp,
    update,
)

LOG_20 = math.log(20)


def feed(test: RolloutTest, champion: float, canary: float, delta: float = 0.05) -> RolloutTest:
    test = update(test, on_canary=False, value=champion, delta=delta)
    return update(test, on_canary=True, value=canary, delta=delta)


def test_one_pair_by_hand():
    test = feed(RolloutTest(), 1.0, 0.0)
    assert test.pairs == 1
    assert test.log_better == pytest.approx([math.log(1 + lam) for lam in GRID])
    assert test.log_e_better == pytest.approx(math.log(np.mean([1 + lam for lam in GRID])))
    assert test.log_worse == pytest.approx([math.log(1 - lam) for lam in GRID])


def test_equal_values_leave_better_alone_and_cost_worse_a_little():
    test = feed(RolloutTest(), 1.0, 1.0)
    assert test.log_e_better == pytest.approx(0.0)
    expected = [math.log(1 - lam / 1.05 * 0.05) for lam in GRID]
    assert test.log_worse == pytest.approx(expected)


def test_values_wait_for_their_partner_in_order():
    test = RolloutTest()
    for value in (1.0, 0.0, 1.0):
        test = update(test, on_canary=False, value=value, delta=0.05)
    assert (test.pairs, test.champion.waiting) == (0, (1.0, 0.0, 1.0))
    test = update(test, on_canary=True, value=0.0, delta=0.05)
    assert (test.pairs, test.champion.waiting, test.canary.waiting) == (1, (0.0, 1.0), ())
    assert (test.champion.users, test.champion.total, test.canary.users) == (3, 2.0, 1)


def test_a_value_outside_the_bounds_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        update(RolloutTest(), on_canary=True, value=1.5, delta=0.05)


def ever_better(rng: np.random.Generator, champion: float, canary: float, pairs: int) -> bool:
    x = (rng.random(pairs) < champion).astype(float) - (rng.random(pairs) < canary)
    wealth = np.exp(np.cumsum([np.log1p(lam * x) for lam in GRID], axis=1)).mean(axis=0)
    return bool((wealth >= 20).any())


def test_the_vectorised_form_is_the_same_as_the_test():
    rng = np.random.default_rng(1)
    test, worth = RolloutTest(), []
    champion, canary = rng.integers(0, 2, 30), rng.integers(0, 2, 30)
    for a, b in zip(champion, canary, strict=True):
        test = feed(test, float(a), float(b))
        worth.append(test.log_e_better)
    x = champion - canary
    wealth = np.exp(np.cumsum([np.log1p(lam * x) for lam in GRID], axis=1)).mean(axis=0)
    assert worth == pytest.approx(list(np.log(wealth)))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_equal_versions_are_rarely_ever_promoted(rate: float):
    rng = np.random.default_rng(7)
    wrong = sum(ever_better(rng, rate, rate, 300) for _ in range(1000))
    assert wrong / 1000 <= 0.05


def test_a_clear_gain_is_seen_within_twenty_pairs():
    rng = np.random.default_rng(3)
    assert sum(ever_better(rng, 0.9, 0.2, 20) for _ in range(1000)) >= 980


def test_clear_harm_is_seen():
    rng = np.random.default_rng(5)
    test = RolloutTest()
    for _ in range(30):
        test = feed(test, float(rng.random() < 0.2), float(rng.random() < 0.9))
        if test.log_e_worse >= LOG_20:
            break
    assert test.log_e_worse >= LOG_20
    assert test.pairs < 20
    assert test.log_e_better < 0


@pytest.mark.parametrize(("gain", "worst"), [(-1.1, 1.0), (0.5, 0.0)])
def test_a_bet_that_could_lose_more_than_there_is_is_refused(gain: float, worst: float):
    with pytest.raises(ValueError, match="at least"):
        bet(START, gain, worst)


def test_the_mean_of_nothing_is_nothing():
    assert log_mean_exp([-math.inf, -math.inf]) == -math.inf
    assert log_mean_exp([-math.inf, 0.0]) == pytest.approx(math.log(0.5))


def test_what_waits_for_a_partner_is_bounded_and_the_oldest_goes_first():
    test = RolloutTest()
    for n in range(MOST_WAITING + 2):
        test = update(test, on_canary=False, value=float(n == 1), delta=0.05)
    assert len(test.champion.waiting) == MOST_WAITING
    assert (test.champion.users, test.champion.total) == (MOST_WAITING + 2, 1.0)
    # The dissatisfied user came second, and is no longer waiting.
    assert update(test, on_canary=True, value=0.0, delta=0.05).log_e_better == pytest.approx(0.0)
