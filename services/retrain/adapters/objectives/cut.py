"""Contrastive unlikelihood training (Reasons to Reject, Xu et al. 2023, arXiv 2312.14591).

The rejected answer is read twice: after the plain prompt, and after the prompt with the judgment in it. The
tokens that the judgment makes likelier are what it complains of.

Departures:
1. The judgment is the user's own follow-up, not a written review.
2. Means are over the tokens of one answer, not over those of a batch, so that a row's loss depends on it alone.
3. A pair without judgment teaches the likelihood of its chosen answer; the paper's positives are answers with a
high score.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from services.retrain.adapters.objectives.rows import Row

# Keeps log(1 - p) finite.
_LEAST = 1e-5


def cut(rows: Sequence[Row], judgment_ratio: float, judgment_weight: float) -> Tensor:
    """[rows]: with a judgment, half of the NLL per token under it, and of the mean of -log p over the unmarked
    and judgment_weight * -log(1 - p) over the marked tokens of the plain prompt."""
    return torch.stack([_loss(row, judgment_ratio, judgment_weight) for row in rows])


def marks(row: Row, judgment_ratio: float) -> Tensor:
    """[tokens] of the rejected answer, true where it is more than `judgment_ratio` times as likely under the
    judgment. Empty without a judgment."""
    if row.judged is None:
        return torch.zeros(0, dtype=torch.bool)
    plain = row.rejected.policy.detach().exp().clamp(min=_LEAST)
    marked: Tensor = row.judged.policy.detach().exp() / plain > judgment_ratio
    return marked


def _loss(row: Row, judgment_ratio: float, judgment_weight: float) -> Tensor:
    if row.judged is None:
        return -row.chosen.mean
    plain = row.rejected.policy
    unlikely = torch.log((1 - plain.exp()).clamp(min=_LEAST))
    unlearnt = torch.where(marks(row, judgment_ratio), -judgment_weight * unlikely, -plain)
    return (unlearnt.mean() - row.judged.mean) / 2
