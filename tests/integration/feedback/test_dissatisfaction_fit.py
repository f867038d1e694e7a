"""Fitting how likely a user was dissatisfied, on the seeds alone."""

import numpy as np
import pytest

from services.feedback.mining.adapters.memory import HashingEmbedder
from services.feedback.mining.app.features import feature_rows
from services.feedback.mining.domain import KINDS
from services.feedback.training.fit import SEEDS, read_seeds
from services.feedback.training.fit_dissatisfaction import (
    STRENGTHS,
    Corpus,
    calibrate,
    fit,
    fit_head,
)


def seeds_by_words() -> Corpus:
    """The seeds with the twin's vectors, so that nothing but words is known."""
    exchanges, kinds = read_seeds(SEEDS)
    exchanges, kinds = exchanges[::3], kinds[::3]
    bad = np.array([KINDS[kind].startswith("reattempt") for kind in kinds], dtype=np.float64)
    rows = np.full((len(kinds), len(KINDS)), 1 / len(KINDS))
    vectors = HashingEmbedder(8).embed([one.follow_up for one in exchanges])
    wordings = [one.follow_up.lower() for one in exchanges]
    return Corpus([one.conversation for one in exchanges], bad, wordings, vectors, rows)


def test_sources_weigh_the_same_whatever_their_size() -> None:
    source = seeds_by_words()
    half = source.part(np.arange(0, len(source.bad), 2))
    twice = Corpus(
        half.conversations * 2,
        np.concatenate([half.bad] * 2),
        half.dialogues * 2,
        np.concatenate([half.vectors] * 2),
        np.concatenate([half.kinds] * 2),
    )
    one, two = fit_head([source, half], 0.1), fit_head([source, twice], 0.1)
    mean = feature_rows(source.conversations + half.conversations).mean(0)
    assert np.allclose(one.mean, mean)
    z = [h.probabilities(half.conversations, half.vectors, half.kinds) for h in (one, two)]
    assert np.abs(z[0] - z[1]).max() < 0.02  # only the features' means and deviations differ


def test_what_is_claimed_comes_true_on_held_out_folds() -> None:
    source = seeds_by_words()
    sources = {"seeds": source, "iard": source, "convai2": source}
    fitted, report, strength = fit(sources)
    assert strength in STRENGTHS
    slope, shift = calibrate(sources, report.folds)
    assert (slope, shift) == (pytest.approx(1.0, abs=0.02), pytest.approx(0.0, abs=0.02))
    claimed = 1 / (1 + np.exp(-report.folds["seeds"]))
    assert claimed.mean() == pytest.approx(source.bad.mean(), abs=0.01)
    found = fitted.probabilities(source.conversations, source.vectors, source.kinds)
    assert found[source.bad == 1].mean() > found[source.bad == 0].mean() + 0.3
