"""Group relative policy optimisation (GRPO, Shao et al. 2024, arXiv 2402.03300): each token of an answer that
is better than its group becomes likelier, of one that is worse less likely, but only until its ratio to the
policy that wrote it leaves [1 - clip_low, 1 + clip_high].

Departures: the answers were sampled once, by the version that served, not anew in each step, so this is the one
step that the clipping allows from there; the chosen and the rejected answer are of the group; the upper
clip is the wider one (DAPO, Yu et al. 2025, arXiv 2503.14476).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from services.retrain.adapters.objectives.advantages import advantages, clipped
from services.retrain.adapters.objectives.rows import Row, Scored


def grpo(rows: Sequence[Row], clip_low: float, clip_high: float, kl_weight: float) -> Tensor:
    """[rows]: the mean over the answers of the mean over their tokens of
    -min(ratio A, clipped ratio A) + kl_weight KL, A the advantages of all answers. The ratio is to the newest
    champion, or else to the reference; KL is estimated by reference/policy - log(reference/policy) - 1."""
    return torch.stack([_loss(row, clip_low, clip_high, kl_weight) for row in rows])


def _loss(row: Row, clip_low: float, clip_high: float, kl_weight: float) -> Tensor:
    losses = [
        (clipped(one, float(advantage), clip_low, clip_high) + kl_weight * _kl(one)).mean()
        for one, advantage in zip(row.groups[0], advantages(row.pair), strict=True)
    ]
    return torch.stack(losses).mean()


def _kl(answer: Scored) -> Tensor:
    ahead = answer.reference - answer.policy
    return ahead.exp() - ahead - 1.0
