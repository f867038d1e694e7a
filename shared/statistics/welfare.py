"""How well off people are, beyond the mean: pure functions of one value a person or a group.

Worst group (Rawls), 20th percentile and Gini as in reports on negotiated alignment; the Gini
coefficient is half the relative mean absolute difference (Gini 1912), here by its sorted form
G = Σ_i (2i - n - 1) x_(i) / (n Σ x).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Welfare:
    """Over users, except `worst_group`: the least of the groups' means."""

    mean: float
    worst_group: float
    percentile_20: float
    gini: float


def gini(values: Sequence[float]) -> float:
    """In [0, 1): 0 where all have the same. Values are >= 0; 0 where nobody has anything."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    total = float(ordered.sum())
    if total <= 0:
        return 0.0
    n = len(ordered)
    ranks = 2 * np.arange(1, n + 1) - n - 1
    return float(ranks @ ordered) / (n * total)


def welfare(values: Sequence[float], groups: Sequence[int]) -> Welfare:
    """`groups[i]` is the group of the person whose value is `values[i]`. Raises ValueError for
    none."""
    if not len(values):
        raise ValueError("welfare needs somebody")
    of, all_values = np.asarray(groups), np.asarray(values, dtype=np.float64)
    means = [float(all_values[of == group].mean()) for group in np.unique(of)]
    return Welfare(
        mean=float(all_values.mean()),
        worst_group=min(means),
        percentile_20=float(np.quantile(all_values, 0.2)),
        gini=gini(values),
    )
