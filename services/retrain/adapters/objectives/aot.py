"""Alignment via optimal transport (Melnyk et al. 2024, arXiv 2406.05882): the answers need not be
better pair by pair, but as distributions; the chosen are to dominate the rejected at every quantile.

The loss compares what is at the same place of two sorted lists, so it depends on which rows are in a step:
dozens of them, and none weighed more than another. Departure: the logistic loss alone, without the squared
hinge.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from services.retrain.adapters.objectives.rows import Row


def aot(rows: Sequence[Row], beta: float, smoothing: float) -> Tensor:
    """[rows]. Paired: the policy's log p(chosen) - log p(rejected), sorted, against the reference's, sorted."""
    ahead = [row.chosen.policy.sum() - row.rejected.policy.sum() for row in rows]
    formerly = [row.chosen.reference.sum() - row.rejected.reference.sum() for row in rows]
    return _dominating(torch.stack(ahead), torch.stack(formerly), beta, smoothing)


def aot_unpaired(rows: Sequence[Row], beta: float, smoothing: float) -> Tensor:
    """[rows]. Unpaired: the log-ratios of the chosen, sorted, against those of the rejected, sorted."""
    chosen = torch.stack([row.chosen.log_ratio for row in rows])
    rejected = torch.stack([row.rejected.log_ratio for row in rows])
    return _dominating(chosen, rejected, beta, smoothing)


def _dominating(upper: Tensor, lower: Tensor, beta: float, smoothing: float) -> Tensor:
    """In the order of `upper`. `smoothing`: the share of the opposite direction."""
    order = upper.argsort()
    gaps = beta * (upper[order] - lower.sort().values)
    losses = -(1 - smoothing) * logsigmoid(gaps) - smoothing * logsigmoid(-gaps)
    return torch.empty_like(losses).index_copy(0, order, losses)
