"""How well a model tells classes apart: AUROC with its interval, macro-F1, calibration. Seeded and pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_BINS = 10


def macro_f1(truth: Floats, said: Floats, labels: int) -> float:
    scores = []
    for label in range(labels):
        hit = ((truth == label) & (said == label)).sum()
        total = (truth == label).sum() + (said == label).sum()
        scores.append(2 * hit / total if total else 0.0)
    return float(np.mean(scores))


def auroc(positive: Floats, score: Floats) -> float:
    """The chance that a positive is scored above a negative, ties counting half; 0.5 if there are only
    positives or only negatives."""
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return 0.5
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    won = ranks[positive.astype(bool)].sum() - positives * (positives + 1) / 2
    return float(won / (positives * negatives))


def auroc_interval(
    positive: Floats, score: Floats, groups: Sequence[str], resamples: int = 500
) -> tuple[float, float, float]:
    """AUROC and its 95% bootstrap interval, (value, low, high): whole groups (dialogues) are resampled."""
    rows: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        rows.setdefault(group, []).append(number)
    blocks, random = [np.array(one) for one in rows.values()], np.random.default_rng(0)
    value = auroc(positive, score)
    drawn = [value]
    for _ in range(resamples):
        picked = random.integers(0, len(blocks), len(blocks))
        chosen = np.concatenate([blocks[one] for one in picked])
        drawn.append(auroc(positive[chosen], score[chosen]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return value, float(low), float(high)


def calibration_error(claimed: Floats, came_true: Floats) -> float:
    """ECE in ten bins of equal width: mean |claimed - came true|, weighted by the bins' sizes."""
    bins = np.minimum((claimed * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(claimed[bins == one].mean() - came_true[bins == one].mean()) * (bins == one).mean()
        for one in np.unique(bins)
    ]
    return float(sum(gaps))
