"""How often tests by betting are wrong, over many simulated streams."""

from __future__ import annotations

import math

import numpy as np

from shared.statistics.betting import START, RolloutTest, bet, log_mean_exp, update

LOG_20 = math.log(20)


def ever_above(rng: np.random.Generator, mean: float, bound: float, count: int) -> bool:
    wealth = START
    for value in rng.random(count) < mean:
        wealth = bet(wealth, float(value) - bound, worst=bound)
        if log_mean_exp(wealth) >= LOG_20:
            return True
    return False


def test_a_mean_at_its_bound_is_rarely_ever_called_above_it():
    rng = np.random.default_rng(11)
    assert sum(ever_above(rng, 0.75, 0.75, 200) for _ in range(400)) / 400 <= 0.05


def test_a_mean_well_above_its_bound_is_found():
    rng = np.random.default_rng(12)
    assert sum(ever_above(rng, 0.9, 0.6, 100) for _ in range(200)) >= 190


def test_equal_versions_with_few_on_the_canary_are_rarely_ever_promoted():
    """Twenty of the champion's users for each of the canary's: most of the champion's values are left out."""
    rng, wrong = np.random.default_rng(9), 0
    for _ in range(150):
        test = RolloutTest()
        for values in (rng.random((80, 21)) < 0.5).astype(float):
            for value in values[1:]:
                test = update(test, on_canary=False, value=value, delta=0.05)
            test = update(test, on_canary=True, value=values[0], delta=0.05)
            if test.log_e_better >= LOG_20:
                wrong += 1
                break
        assert test.pairs > 0
    assert wrong / 150 <= 0.05
