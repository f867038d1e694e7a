"""How the opinions of several models become one calibrated answer, and when there is none.

The logits of each model [n, labels], made for lines that it was not fitted on, are weighed,
shifted and turned into probabilities: softmax(sum_m w_m z_m + b), with w >= 0 and b fitted by the
least cross entropy against the raters' shares. That is stacking (Wolpert 1992) with so few numbers
that it is vector scaling (Guo et al., arXiv 1706.04599) at once. Pure functions of numpy arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.feedback.mining.app.features import Floats
from shared.statistics.classification import auroc, calibration_error, macro_f1

# Weights stay near an even mean of the models where there is little to judge by; in lines.
_PRIOR_LINES = 10.0
# Above the threshold the share of wrong answers on held-out lines is this much of what it is
# without abstaining, unless that would leave too few answers.
WANTED_ERROR = 0.5
LEAST_COVERAGE = 0.7
# Lines of which the first model is surest need no others, as far as their cross entropy on held-out
# lines does not rise by more than this; at most this many.
_SPARED = (0.5, 0.4, 0.3, 0.2, 0.1)
_COST = 0.005


@dataclass(frozen=True, slots=True)
class Blend:
    """weights [models], bias [labels]; it abstains where the likeliest is below `threshold`."""

    weights: tuple[float, ...]
    bias: tuple[float, ...]
    threshold: float = 0.0

    def probabilities(self, logits: Sequence[Floats]) -> Floats:
        """[n, labels] of each model's [n, labels]."""
        mixed = sum(w * _centred(z) for w, z in zip(self.weights, logits, strict=True))
        return softmax(np.asarray(mixed) + np.array(self.bias))


@dataclass(frozen=True, slots=True)
class Cascade:
    """Where `alone`, the blend of the first model by itself, gives its likeliest label `sure` or more,
    that is the answer, and the other models are not asked."""

    alone: Blend
    sure: float


@dataclass(frozen=True, slots=True)
class FoldFigures:
    """What the held-out folds say. `auroc` by label, the label's majority against the rest."""

    lines: int
    log_loss: float
    accuracy: float
    macro_f1: float
    auroc: dict[str, float]
    calibration_error: float
    coverage: float
    accuracy_where_judged: float


def softmax(logits: Floats) -> Floats:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def fit_blend(logits: Sequence[Floats], shares: Floats) -> Blend:
    """Of held-out logits. The threshold is chosen on the same lines."""
    from scipy.optimize import minimize

    models, labels = len(logits), shares.shape[1]
    stacked = np.stack([_centred(z) for z in logits])

    def loss(numbers: Floats) -> tuple[float, Floats]:
        weights, bias = numbers[:models], numbers[models:]
        rows = softmax(np.tensordot(weights, stacked, 1) + bias)
        error = (rows - shares) / len(shares)
        pull = _PRIOR_LINES / len(shares)
        value = -(shares * np.log(rows + 1e-12)).sum() / len(shares)
        value += pull * (((weights - 1 / models) ** 2).sum() + 0.1 * (bias**2).sum())
        slopes = [(error * z).sum() for z in stacked] + 2 * pull * (weights - 1 / models)
        return float(value), np.concatenate([slopes, error.sum(0) + 0.2 * pull * bias])

    start = np.concatenate([np.full(models, 1 / models), np.zeros(labels)])
    bounds = [(0.0, 10.0)] * models + [(-10.0, 10.0)] * labels
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    weights, bias = tuple(map(float, found[:models])), tuple(map(float, found[models:]))
    rows = Blend(weights, bias).probabilities(logits)
    return Blend(weights, bias, choose_threshold(rows, shares))


def fit_cascade(first: Floats, rows: Floats, shares: Floats) -> tuple[Cascade | None, Floats]:
    """Of held-out lines: the first model's logits and all models' `rows`; and the rows that come of it. None
    where no line may be spared."""
    alone = fit_blend([first], shares)
    quick = alone.probabilities([first])
    best = quick.max(1)
    bound = (1 + _COST) * -(shares * np.log(rows + 1e-12)).sum()
    for spared in _SPARED:
        sure = float(np.quantile(best, 1 - spared))
        mixed = np.where((best >= sure)[:, None], quick, rows)
        if -(shares * np.log(mixed + 1e-12)).sum() <= bound:
            return Cascade(alone, sure), mixed
    return None, rows


def choose_threshold(rows: Floats, shares: Floats) -> float:
    """The lowest at which WANTED_ERROR is met, or that leaves LEAST_COVERAGE."""
    best = rows.max(1)
    wrong = rows.argmax(1) != shares.argmax(1)
    order = np.argsort(-best, kind="stable")
    errors = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    enough = max(int(np.ceil(LEAST_COVERAGE * len(order))), 1)
    met = np.flatnonzero(errors[enough - 1 :] <= WANTED_ERROR * wrong.mean())
    last = enough - 1 + int(met[-1]) if len(met) else enough - 1
    return float(np.floor(best[order[last]] * 1e6) / 1e6)


def figures(rows: Floats, shares: Floats, labels: Sequence[str], threshold: float) -> FoldFigures:
    truth, said, best = shares.argmax(1), rows.argmax(1), rows.max(1)
    judged, right = best >= threshold, said == truth
    return FoldFigures(
        lines=len(rows),
        log_loss=float(-(shares * np.log(rows + 1e-12)).sum(1).mean()),
        accuracy=float(right.mean()),
        macro_f1=macro_f1(truth, said, len(labels)),
        auroc={label: auroc(truth == k, rows[:, k]) for k, label in enumerate(labels)},
        calibration_error=calibration_error(best, shares[np.arange(len(said)), said]),
        coverage=float(judged.mean()),
        accuracy_where_judged=float(right[judged].mean()) if judged.any() else 0.0,
    )


def _centred(logits: Floats) -> Floats:
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))
