"""A linear model over what can be counted: hand-made features and n-grams of the follow-up's words, and
of their letters where that judges better (wordings vary, and there are few lines).

Multinomial logistic regression on raters' shares, L2, by L-BFGS. Titles in quotes, names and
numbers are masked in the n-grams: they say what is talked about, not how it went.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.feedback.mining.app.features import NAMES, Conversation, Floats, feature_rows
from services.feedback.mining.app.grams import gram_rows, letter_columns_of, standardised
from services.feedback.training.app.blend import softmax

_STEPS = 200
_FILE = "lexical.npz"


@dataclass(frozen=True, slots=True)
class LexicalLearner:
    """The less `strength`, the closer the weights stay to zero."""

    strength: float
    letters: bool = False

    @property
    def name(self) -> str:
        return f"lexical (strength {self.strength:g}{', letters' if self.letters else ''})"

    def fit(self, conversations: Sequence[Conversation], shares: Floats, seed: int) -> LexicalModel:
        """The loss is convex: the seed changes nothing."""
        rows = feature_rows(conversations)
        mean, scale = rows.mean(0), rows.std(0)
        scale[scale < 1e-6] = 1.0
        inputs = _inputs(conversations, rows, mean, scale, self.letters)
        weights, bias = _regress(inputs, shares, 1.0 / (self.strength * len(shares)))
        return LexicalModel(weights, bias, mean, scale, self.letters)


@dataclass(frozen=True, slots=True)
class LexicalModel:
    """weights [features + n-grams, labels], bias [labels], mean and scale [features]."""

    weights: Floats
    bias: Floats
    mean: Floats
    scale: Floats
    letters: bool = False

    def logits(self, conversations: Sequence[Conversation]) -> Floats:
        if not conversations:
            return np.zeros((0, len(self.bias)))
        rows = feature_rows(conversations)
        inputs = _inputs(conversations, rows, self.mean, self.scale, self.letters)
        return np.asarray(inputs @ self.weights + self.bias)

    def save(self, folder: Path) -> None:
        np.savez_compressed(
            folder / _FILE,
            weights=self.weights.astype(np.float32),
            bias=self.bias,
            mean=self.mean,
            scale=self.scale,
            letters=np.array(self.letters),
            names=np.array(NAMES),
        )

    @classmethod
    def load(cls, folder: Path) -> LexicalModel:
        """Raises ValueError if it was fitted for other features; OSError if it is not there."""
        with np.load(folder / _FILE, allow_pickle=False) as kept:
            if tuple(kept["names"]) != NAMES:
                raise ValueError(f"{folder} was fitted for other features: fit it again")
            weights, bias, mean, scale = (
                kept[n].astype(np.float64) for n in ("weights", "bias", "mean", "scale")
            )
            # Models from before letters were counted lack this entry.
            letters = "letters" in kept.files and bool(kept["letters"])
        return cls(weights, bias, mean, scale, letters)


def _inputs(
    conversations: Sequence[Conversation], rows: Floats, mean: Floats, scale: Floats, letters: bool
) -> Any:
    """[n, features + n-grams], sparse; each row's n-grams have unit length."""
    from scipy import sparse

    texts = [one.follow_up for one in conversations]
    parts = [sparse.csr_matrix(standardised(rows, mean, scale)), gram_rows(texts)]
    if letters:
        parts.append(gram_rows(texts, letter_columns_of))
    return sparse.hstack(parts).tocsr()


def _regress(inputs: Any, shares: Floats, penalty: float) -> tuple[Floats, Floats]:
    """Least of: mean cross entropy + penalty / 2 * |weights|^2; the bias is free."""
    from scipy.optimize import minimize

    columns, labels = inputs.shape[1], shares.shape[1]
    used = np.flatnonzero(np.diff(inputs.tocsc().indptr))
    inputs, count = inputs[:, used].tocsr(), len(shares)
    across = inputs.T.tocsr()

    def loss(numbers: Floats) -> tuple[float, Floats]:
        weights = numbers[labels:].reshape(-1, labels)
        rows = softmax(inputs @ weights + numbers[:labels])
        error = (rows - shares) / count
        value = -(shares * np.log(rows + 1e-12)).sum() / count
        value += penalty / 2 * (weights**2).sum()
        slopes = across @ error + penalty * weights
        return float(value), np.concatenate([error.sum(0), slopes.ravel()])

    prior = np.log(np.clip(shares.mean(0), 1e-3, 1.0))
    start = np.concatenate([prior, np.zeros(len(used) * labels)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x
    weights = np.zeros((columns, labels))
    weights[used] = found[labels:].reshape(-1, labels)
    return weights, found[:labels]
