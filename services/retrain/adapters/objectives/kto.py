"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv 2402.01306).

Departures:
1. A pair is taken as one desirable and one undesirable answer.
2. The mismatched answers by which the divergence from the reference is estimated are those of the next pair
of the snapshot (Row.strangers), not of the next in the batch, so that what is kept of them serves every
epoch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from services.retrain.adapters.objectives.rows import Row


def kto(
    rows: Sequence[Row], beta: float, desirable_weight: float, undesirable_weight: float
) -> Tensor:
    """[rows]: half of desirable_weight * (1 - sigmoid(beta * (log-ratio of the chosen - kl))) and of
    undesirable_weight * (1 - sigmoid(beta * (kl - log-ratio of the rejected))), with `kl` over all rows."""
    kl = divergence(rows)
    chosen = torch.stack([row.chosen.log_ratio for row in rows])
    rejected = torch.stack([row.rejected.log_ratio for row in rows])
    desirable = 1 - torch.sigmoid(beta * (chosen - kl))
    undesirable = 1 - torch.sigmoid(beta * (kl - rejected))
    return (desirable_weight * desirable + undesirable_weight * undesirable) / 2


def divergence(rows: Sequence[Row]) -> Tensor:
    """The mean log-ratio of answers to other prompts, in nats, at least 0: a baseline that nothing is taught
    through."""
    ratios = [stranger.log_ratio for row in rows for stranger in row.strangers]
    return torch.stack(ratios).mean().detach().clamp(min=0)
