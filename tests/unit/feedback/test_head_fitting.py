"""Corrections of the shipped head: what can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse

from services.feedback.heads.adapters.sql_heads import packed, unpacked
from services.feedback.heads.app.fitting import (
    RECALIBRATED,
    STRENGTHS,
    choose_strength,
    cross_entropy,
    fit,
    sigmoid,
)
from services.feedback.heads.domain import Correction
from services.feedback.mining.app.dissatisfaction import DissatisfactionHead


def nothing(rows: int, columns: int = 3) -> sparse.csr_matrix:
    return sparse.csr_matrix((rows, columns))


def test_cross_entropy_of_a_soft_label() -> None:
    # z = ln 3 claims 3/4: y = 1/2 costs -(ln 3/4 + ln 1/4) / 2, y = 1 costs -ln 3/4.
    z = np.full(2, math.log(3))
    expected = [-(math.log(0.75) + math.log(0.25)) / 2, -math.log(0.75)]
    assert cross_entropy(z, np.array([0.5, 1.0])) == pytest.approx(expected)


def test_where_the_shipped_head_says_nothing_the_shift_is_the_base_rates_log_odds() -> None:
    bad = np.array([1.0, 1.0, 1.0, 0.0] * 5)
    found = fit(nothing(20), np.zeros(20), bad, RECALIBRATED)
    assert found.shift == pytest.approx(math.log(3), abs=1e-4)
    assert found.slope == pytest.approx(1.0, abs=1e-6)  # its prior alone speaks of it
    assert len(found.columns) == 0


def test_a_slope_is_fitted_against_its_prior() -> None:
    """At z = 1 a share of 1/4 is bad and at z = -1 of 3/4: the best slope is -ln 3, the prior says 1.
    Where both meet: n (sigma(s) - 1/4) + (s - 1) = 0, by symmetry with shift 0."""
    n = 400
    z = np.repeat([1.0, -1.0], n // 2)
    bad = np.concatenate([np.arange(n // 2) % 4 == 0, np.arange(n // 2) % 4 != 0]).astype(float)
    found = fit(nothing(n), z, bad, RECALIBRATED)
    assert found.shift == pytest.approx(0.0, abs=1e-4)
    assert n * (float(sigmoid(np.array(found.slope))) - 0.25) + (found.slope - 1.0) == (
        pytest.approx(0.0, abs=1e-2)
    )
    assert -math.log(3) < found.slope < -math.log(3) + 0.05


def test_own_weights_are_held_to_the_shipped_ones() -> None:
    """One column that is 1 where the label is bad, -1 where not: with slope and shift at rest, its weight d
    solves n (sigma(d) - 1) + strength d = 0."""
    n, column = 40, np.tile([1.0, -1.0], 20)
    rows = sparse.csr_matrix(np.stack([np.zeros(n), column], axis=1))
    bad = (column > 0).astype(float)
    for strength in (3.0, 30.0):
        found = fit(rows, np.zeros(n), bad, strength)
        assert found.columns.tolist() == [1]  # what no follow-up has gets no weight
        (weight,) = found.weights
        left = n * (float(sigmoid(np.array(weight))) - 1.0) + strength * weight
        assert left == pytest.approx(0.0, abs=1e-2)
    assert fit(rows, np.zeros(n), bad, 3.0).weights[0] > found.weights[0] > 0


def test_one_sort_of_label_fits_nothing() -> None:
    with pytest.raises(ValueError, match="above and below one half"):
        fit(nothing(4), np.zeros(4), np.array([1.0, 1.0, 0.5, 0.9]), RECALIBRATED)


def test_the_strength_is_chosen_on_folds_left_out() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 4))
    rows, folds = sparse.csr_matrix(x), (np.arange(300) % 5).tolist()
    learnt = (random.random(300) < sigmoid(3 * x[:, 0])).astype(float)
    assert choose_strength(rows, np.zeros(300), learnt, folds) < 100.0
    # What the shipped head knows already is not learnt again from as few.
    known = (random.random(300) < sigmoid(3 * x[:, 1])).astype(float)
    assert choose_strength(rows, 3 * x[:, 1], known, folds) == RECALIBRATED
    assert STRENGTHS[0] == RECALIBRATED


def test_a_correction_is_a_head_and_survives_its_bytes() -> None:
    shipped = DissatisfactionHead(
        np.array([1.0, -2.0, 0.5]), 0.25, np.array([0.0]), np.array([1.0])
    )
    correction = Correction(-0.5, 0.1, np.array([2]), np.array([4.0]))
    again = unpacked(packed(correction, "shipped-x"))
    head = again.of(shipped)
    assert head.weights.tolist() == [-0.5, 1.0, 3.75]
    assert head.bias == pytest.approx(-0.5 * 0.25 + 0.1)
    rows = sparse.csr_matrix([[1.0, 1.0, 2.0]])
    logits = rows @ shipped.weights + shipped.bias
    assert correction.logits(rows, logits) == pytest.approx(rows @ head.weights + head.bias)
    assert shipped.weights.tolist() == [1.0, -2.0, 0.5]
