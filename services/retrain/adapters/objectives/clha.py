"""Contrastive learning for human alignment (CLHA, Fang et al. 2024, arXiv 2403.16649), with two candidates.

Departures:
1. The paper has one number, 3, for how far rewards must be apart and for the margin per token, so that its
hinge hardly ever closes; here they are `reward_gap` and `hinge_margin`.
2. The chosen answer is the better one, whatever the rewards say: a pair that they see the other way round is
not counted, instead of being turned round.
3. A pair tells how far its rewards are apart, not what they are: the likelihood of the chosen counts where
that is above 0. Rewards are log odds here (Bradley and Terry's) and are not rescaled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import relu

from services.retrain.adapters.objectives.rows import Row


def clha(rows: Sequence[Row], reward_gap: float, hinge_margin: float, sft_weight: float) -> Tensor:
    """[rows]: max(0, hinge_margin - mean of the chosen + mean of the rejected) where the rewards are more than
    `reward_gap` apart, and sft_weight * (- log p(chosen)), summed over its tokens, where its reward is
    higher."""
    return torch.stack([_loss(row, reward_gap, hinge_margin, sft_weight) for row in rows])


def is_apart(row: Row, reward_gap: float) -> float:
    """1 where the pair counts in the ranking, else 0."""
    return float(row.pair.reward_margin > reward_gap)


def _loss(row: Row, reward_gap: float, hinge_margin: float, sft_weight: float) -> Tensor:
    hinge = relu(hinge_margin - row.chosen.mean + row.rejected.mean)
    likelihood = -sft_weight * row.chosen.policy.sum()
    return hinge * is_apart(row, reward_gap) + likelihood * is_apart(row, 0.0)
