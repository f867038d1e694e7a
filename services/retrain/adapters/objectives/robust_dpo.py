"""Provably robust DPO (Chowdhury et al. 2024, arXiv 2403.00409), for pairs of which a share
`smoothing` has its answers the wrong way round.

It is an unbiased estimate of DPO's loss on the pairs as they should be. Conservative DPO (Mitchell 2023) only
mixes both directions, (1 - e) * dpo(margin) + e * dpo(-margin): that is biased, and pulls a margin back beyond
log((1 - e) / e). Here the wrong direction is subtracted and the whole divided by 1 - 2 e: the margin never
stops rising, the loss may fall below zero, and a training needs another rule to stop.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import logsigmoid

from services.retrain.adapters.objectives.rows import Row, margins


def robust_dpo(rows: Sequence[Row], beta: float, smoothing: float) -> Tensor:
    """[rows]; `smoothing` in [0, 0.5). Equal to DPO's where it is 0, and log 2 where the policy is the
    reference."""
    margin = margins(rows, beta)
    right, wrong = -logsigmoid(margin), -logsigmoid(-margin)
    return ((1 - smoothing) * right - smoothing * wrong) / (1 - 2 * smoothing)
