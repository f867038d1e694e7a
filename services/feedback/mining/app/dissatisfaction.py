"""How likely it is that a user was dissatisfied with the answer: one linear model over all that is
known of the follow-up.

Inputs of one follow-up: what can be counted of it and of the conversation before it (features.py),
its hashed word n-grams, its sentence vector, and the odds that the kinds' head gives a re-attempt.
p = 1 / (1 + exp(-(x w + b))); the calibration is part of w and b. Pure functions of numpy arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from services.feedback.mining.app.features import NAMES, Conversation, Floats, feature_rows
from services.feedback.mining.app.grams import COLUMNS, gram_rows, standardised
from services.feedback.mining.domain import KINDS
from services.feedback.mining.ports import Vectors
from shared.language.verdicts import DISSATISFIED

# Beside an n-gram's whole weight: an odds ratio of e.
_ODDS_SCALE = 0.1
_LEAST = 1e-4
_BAD = [number for number, kind in enumerate(KINDS) if kind in DISSATISFIED]


class Dissatisfaction(Protocol):
    def probabilities(
        self, conversations: Sequence[Conversation], vectors: Vectors, kinds: Floats
    ) -> Floats:
        """[n], each in [0, 1]. `vectors` [n, d] are of the follow-ups; `kinds` [n, KINDS] are the
        probabilities of their kinds."""


@dataclass(frozen=True, slots=True)
class ByKind:
    """No model: the probability that the follow-up is a re-attempt."""

    def probabilities(
        self, conversations: Sequence[Conversation], vectors: Vectors, kinds: Floats
    ) -> Floats:
        return np.asarray(np.minimum(kinds[:, _BAD].sum(1), 1.0))


@dataclass(frozen=True, slots=True)
class DissatisfactionHead:
    """weights [features + n-grams + d + 1]; mean and scale [features]."""

    weights: Floats
    bias: float
    mean: Floats
    scale: Floats

    def probabilities(
        self, conversations: Sequence[Conversation], vectors: Vectors, kinds: Floats
    ) -> Floats:
        rows = inputs_of(conversations, vectors, kinds, self.mean, self.scale)
        return np.asarray(1.0 / (1.0 + np.exp(-(rows @ self.weights + self.bias))))


def inputs_of(
    conversations: Sequence[Conversation],
    vectors: Vectors,
    kinds: Floats,
    mean: Floats,
    scale: Floats,
) -> Any:
    """[n, features + n-grams + d + 1], scipy sparse."""
    from scipy import sparse

    counted = standardised(feature_rows(conversations), mean, scale)
    grams = gram_rows([one.follow_up for one in conversations])
    parts = [sparse.csr_matrix(counted), grams, sparse.csr_matrix(vectors)]
    return sparse.hstack([*parts, sparse.csr_matrix(odds_of(kinds)[:, None])]).tocsr()


def odds_of(kinds: Floats) -> Floats:
    """Log odds [n] of a re-attempt against all else, scaled."""
    bad = np.clip(kinds[:, _BAD].sum(1), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(bad / (1 - bad)) * _ODDS_SCALE)


def save_dissatisfaction(head: DissatisfactionHead, path: Path) -> None:
    """Arrays only (float32): nothing in it can run."""
    np.savez_compressed(
        path,
        weights=head.weights.astype(np.float32),
        bias=np.float64(head.bias),
        mean=head.mean.astype(np.float32),
        scale=head.scale.astype(np.float32),
        names=np.array(NAMES),
    )


def load_dissatisfaction(path: Path) -> DissatisfactionHead:
    """Raises ValueError if it was fitted for other features."""
    with np.load(path, allow_pickle=False) as kept:
        if tuple(kept["names"]) != NAMES or len(kept["weights"]) < len(NAMES) + COLUMNS + 1:
            raise ValueError(f"{path} was fitted for other features: fit it again")
        weights, mean, scale = (kept[n].astype(np.float64) for n in ("weights", "mean", "scale"))
        return DissatisfactionHead(weights, float(kept["bias"]), mean, scale)
