"""Detectors by value: increments by hand, exact alarms on seeded streams, and a quiet stream."""

import json
from dataclasses import replace
from math import exp, log

import numpy as np
import pytest

from services.drift.app.watching import DETECTORS
from services.drift.detectors import conformal, e_detector
from services.drift.detectors.detector import Detector
from services.drift.detectors.falling_mean import FallingMean
from services.drift.detectors.rising_rate import RisingRate

LOG_THRESHOLD = log(2000)


def first_alarm(values: list[float], bound: float) -> tuple[int | None, int]:
    """(position of the alarm or None, where the change is believed to have begun)."""
    evidence = e_detector.no_evidence(len(e_detector.FRACTIONS))
    for place, value in enumerate(values):
        evidence = e_detector.step(evidence, e_detector.log_increments(value, bound))
        if e_detector.log_evidence(evidence) >= LOG_THRESHOLD:
            return place, e_detector.change_start(evidence)
    return None, e_detector.change_start(evidence)


def bernoulli(rate: float, count: int, seed: int) -> list[float]:
    draws = np.random.default_rng(seed).random(count)
    return [float(draw < rate) for draw in draws]


def test_the_recursion_is_the_papers() -> None:
    bound, fraction = 0.25, e_detector.FRACTIONS[4]  # 0.5, so lambda is 2
    evidence = e_detector.no_evidence(len(e_detector.FRACTIONS))
    for value in (1.0, 0.0, 1.0):
        evidence = e_detector.step(evidence, e_detector.log_increments(value, bound))
    up, down = 1 + fraction / bound * 0.75, 1 - fraction / bound * 0.25  # 2.5 and 0.5
    assert (up, down) == (2.5, 0.5)
    assert exp(evidence.log_sr[4]) == pytest.approx(((up + 1) * down + 1) * up)  # 6.875
    assert exp(evidence.log_cusum[4]) == pytest.approx(up * down * up)  # 3.125
    assert evidence.starts[4] == 0


def test_evidence_averages_the_bets() -> None:
    evidence = e_detector.step(e_detector.no_evidence(2), (log(3.0), log(1.0)))
    assert exp(e_detector.log_evidence(evidence)) == pytest.approx(2.0)


@pytest.mark.parametrize(("value", "mean"), [(0.3, 0.3), (0.2, 0.3)])
def test_increments_are_fair_at_the_bound(value: float, mean: float) -> None:
    ones, zeros = e_detector.log_increments(1.0, mean), e_detector.log_increments(0.0, mean)
    for one, zero in zip(ones, zeros, strict=True):
        assert value * exp(one) + (1 - value) * exp(zero) <= 1 + 1e-12


def test_a_shift_from_a_tenth_to_nine_tenths_alarms_at_a_known_place() -> None:
    before, after = bernoulli(0.1, 200, seed=1), bernoulli(0.9, 80, seed=2)
    bound = e_detector.clopper_pearson_upper(round(sum(before[:80])), 80)
    place, start = first_alarm(before[80:] + after, bound)
    # 120 quiet values, then the shift: five values later the alarm, and the change found exactly.
    assert (place, start) == (124, 120)


def test_bounds_of_the_reference() -> None:
    assert e_detector.clopper_pearson_upper(0, 80) == pytest.approx(1 - 0.05 ** (1 / 80), abs=1e-8)
    assert e_detector.clopper_pearson_upper(8, 80) == pytest.approx(0.17320, abs=1e-5)
    assert e_detector.clopper_pearson_upper(80, 80) == 1.0
    assert e_detector.hoeffding_upper(0.5, 80) == pytest.approx(0.63684, abs=1e-5)


def test_the_bound_of_a_rate_is_as_wide_as_its_users_allow() -> None:
    """Eight dissatisfied values of eighty: of eighty people, and of one in ten."""
    values = [1.0] * 8 + [0.0] * 72
    alone, _ = RisingRate().start(values)
    assert alone.bound == pytest.approx(0.17320, abs=1e-5)
    assert RisingRate().start(values, list(range(80)))[0] == alone
    ten, _ = RisingRate().start(values, [place // 8 for place in range(80)])
    # Of ten people drawn anew more than three are dissatisfied in 1 of 100, more than two in 7.
    assert ten.bound == pytest.approx(0.3)
    assert replace(ten, bound=alone.bound) == alone


def test_the_bound_of_a_mean_is_as_wide_as_its_users_allow() -> None:
    """Forty bad rewards of eighty: of eighty people, of ten in twenty, and of one in two."""
    rewards = [0.0] * 40 + [1.0] * 40
    alone, twenty, two = (
        FallingMean().start(rewards, [place // several for place in range(80)])[0].bound
        for several in (1, 4, 40)
    )
    assert alone == twenty == pytest.approx(0.63684, abs=1e-5)
    assert two == pytest.approx(1 / (1 + exp(-1.0)))


def test_p_values_are_randomised_ranks() -> None:
    earlier = {10: 2, 20: 1}
    assert conformal.p_value(20, earlier, 0.5) == pytest.approx(0.25)  # (0 + 0.5 * 2) / 4
    assert conformal.p_value(10, earlier, 1.0) == pytest.approx(1.0)
    assert conformal.p_value(30, {}, 0.4) == pytest.approx(0.4)


def test_power_bets_integrate_to_one() -> None:
    # With p = u^(1/eps) the integrand eps p^(eps - 1) dp/du is 1 everywhere.
    for u in (0.01, 0.3, 0.9):
        for place, power in enumerate(conformal.POWERS):
            density = (1 / power) * u ** (1 / power - 1)
            bet = exp(conformal.log_power_bets(u ** (1 / power))[place])
            assert bet * density == pytest.approx(1.0)


def test_nonconformity_is_one_minus_the_mean_cosine_to_the_nearest() -> None:
    reference = np.eye(4, dtype=np.float32)
    vector = np.array([0.6, 0.8, 0, 0], dtype=np.float32)
    assert conformal.nonconformity(vector, reference, neighbours=2) == round(0.3 * 256)


def conformal_alarm(vectors: np.ndarray, reference: np.ndarray, seed: int) -> int | None:
    evidence, scores = e_detector.no_evidence(len(conformal.POWERS)), dict[int, int]()
    uniforms = np.random.default_rng(seed).random(len(vectors))
    for place, vector in enumerate(vectors):
        score = conformal.nonconformity(vector, reference)
        p = conformal.p_value(score, scores, float(uniforms[place]))
        scores[score] = scores.get(score, 0) + 1
        evidence = e_detector.step(evidence, conformal.log_power_bets(p))
        if e_detector.log_evidence(evidence) >= log(20_000):
            return place
    return None


def unit_vectors(mean: np.ndarray, count: int, seed: int) -> np.ndarray:
    raw = mean + np.random.default_rng(seed).normal(0, 0.3, (count, len(mean)))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def test_new_topics_alarm_at_a_known_place_and_old_ones_do_not() -> None:
    one, other = np.eye(8)[0], np.eye(8)[3]
    reference, quiet = unit_vectors(one, 80, 1), unit_vectors(one, 2000, 2)
    assert conformal_alarm(quiet, reference, seed=5) is None
    shifted = np.concatenate([quiet[:100], unit_vectors(other, 60, 3)])
    assert conformal_alarm(shifted, reference, seed=5) == 105


def test_the_jumper_keeps_its_capital_on_uniform_and_grows_on_small_p_values() -> None:
    fair = small = conformal.Jumper()
    for p in np.random.default_rng(7).random(500):
        fair = conformal.jump(fair, float(p))
        small = conformal.jump(small, float(p) * 0.2)
    assert fair.log_capital < log(20)
    assert small.log_capital > 100
    assert sum(small.shares) == pytest.approx(1.0)


def alarm_of(detector: Detector, values: list[float]) -> tuple[int | None, int]:
    """Where a detector alarms after a reference of 80 values, and where it believes the change began; what it
    remembers goes through JSON, as it does between two records."""
    reference, memory = detector.start(values[:80])
    assert detector.log_e(memory) == -np.inf
    uniforms = np.random.default_rng(5).random(len(values))
    for place, value in enumerate(values[80:]):
        memory = json.loads(json.dumps(detector.step(memory, reference, value, uniforms[place])))
        if detector.log_e(memory) >= LOG_THRESHOLD:
            return place, detector.change_start(memory)
    return None, detector.change_start(memory)


def quiet_and_changed(stream: str) -> tuple[list[float], list[float]]:
    """1,000 values that do not change; and 200 of them, then 60 that have."""
    quiet: np.ndarray
    changed: np.ndarray
    random = np.random.default_rng(12)
    if stream == "dissatisfaction":
        quiet, changed = random.random(1080) < 0.1, random.random(60) < 0.9
    elif stream == "reward":
        quiet, changed = random.normal(3.0, 2.0, 1080), random.normal(-3.0, 2.0, 60)
    else:
        quiet, changed = random.integers(20, 60, 1080) / 256, random.integers(150, 200, 60) / 256
    return [float(one) for one in quiet], [float(one) for one in [*quiet[:280], *changed]]


@pytest.mark.parametrize(
    ("stream", "alarm"), [("dissatisfaction", 204), ("reward", 221), ("novelty", 202)]
)
def test_every_detector_alarms_at_a_known_place_and_not_on_a_quiet_stream(
    stream: str, alarm: int
) -> None:
    quiet, changed = quiet_and_changed(stream)
    assert alarm_of(DETECTORS[stream], quiet)[0] is None
    assert alarm_of(DETECTORS[stream], changed) == (alarm, 200)


def test_every_stream_has_its_detector() -> None:
    assert set(DETECTORS) == {"dissatisfaction", "reward", "novelty"}
    for detector in DETECTORS.values():
        reference, _ = detector.start([0.0, 1.0] * 40)
        assert detector.premise(reference, "turns").startswith("If ")
