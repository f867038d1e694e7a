"""How often the gate lets a candidate through that is no better, over many nights of trying: simulated."""

from __future__ import annotations

import numpy as np
import pytest

from services.evaluation.domain import Request, SuiteLimits, Version
from services.retrain.domain.gate import check
from services.retrain.domain.rules import Thresholds
from shared.language.estimates import Estimate
from tests.unit.retrain.test_gate import figures

NIGHTS, CHAMPIONS = 30, 400


def candidate(rng: np.random.Generator, wins: float, confidence: float) -> tuple[Estimate, ...]:
    """The figures of one whose answers win so often, from as many prompts as that confidence asks for."""
    request = Request("e", "local", Version("v1", "v1"), confidence=confidence)
    count = SuiteLimits().at(confidence).prompts
    groups = [f"prompt:{n}" for n in range(count)]
    outcomes = (rng.random(count) < wins).astype(float)
    won = request.rate("win_rate", request.model, list(outcomes), groups, "win_rate")
    return tuple(
        Estimate(one.name, one.value, one.low, one.high, confidence, one.count)
        for one in figures(win_rate=won)
    )


def ever_passed(rng: np.random.Generator, *, spends: bool) -> bool:
    """Whether any of the nights' candidates, each as good as the champion, passes."""
    thresholds = Thresholds()
    for night in range(1, NIGHTS + 1):
        confidence = thresholds.confidence(night) if spends else 0.95
        estimates = candidate(rng, 0.5, confidence)
        if check(estimates, "assistant-v0", thresholds, confidence)[1] == "passed":
            return True
    return False


def test_over_a_month_of_equal_candidates_the_gate_errs_no_more_often_than_it_says() -> None:
    rng = np.random.default_rng(12)
    wrong = sum(ever_passed(rng, spends=True) for _ in range(CHAMPIONS)) / CHAMPIONS
    assert wrong <= 0.05


def test_the_same_confidence_every_night_would_let_chance_in() -> None:
    rng = np.random.default_rng(12)
    wrong = sum(ever_passed(rng, spends=False) for _ in range(100)) / 100
    assert wrong > 0.3


@pytest.mark.parametrize("night", [1, 5, 30])
def test_a_good_candidate_still_passes_after_many_that_did_not(night: int) -> None:
    """It wins four prompts of five: there are more of them when the gate must be surer."""
    rng, thresholds = np.random.default_rng(night), Thresholds()
    confidence = thresholds.confidence(night)
    passed = [
        check(candidate(rng, 0.8, confidence), "assistant-v0", thresholds, confidence)[1]
        for _ in range(50)
    ]
    assert passed.count("passed") >= 45
