"""Simulated rollouts with two groups of people, looked at after every user; `make bench-people` has more."""

from __future__ import annotations

from shared.language.interests import Interests
from tests.benchmarks.people import CASES, Ending, by_everyone, simulated

ROLLOUTS = 120
KNOWN = 0.8


def ended(case: str) -> list[Ending]:
    return [simulated(CASES[case], Interests(), KNOWN, seed) for seed in range(ROLLOUTS)]


def test_what_helps_the_many_and_hurts_the_few_is_hardly_ever_promoted() -> None:
    case = CASES["helps_80_hurts_20"]
    assert sum(one.is_promoted for one in ended("helps_80_hurts_20")) <= 0.05 * ROLLOUTS
    # The test of everyone alone promotes it: this is what groups are for.
    alone = [by_everyone(seed, case, KNOWN) for seed in range(20)]
    assert all(one.is_promoted for one in alone)


def test_what_helps_all_is_promoted() -> None:
    assert sum(one.is_promoted for one in ended("helps_all")) >= 0.95 * ROLLOUTS
