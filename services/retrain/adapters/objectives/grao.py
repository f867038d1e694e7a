"""Group relative alignment (GRAO, 2025, arXiv 2508.07750): of several answers, those that are better than
their group become likelier and the others less likely, with the best one, the chosen answer, as the example
that is imitated and that the others are held against.

Departures: the answers were sampled once, by the version that served, not anew in each step; the rejected
answer is one of the group; its example is the chosen answer, a rewrite or the best sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from services.retrain.adapters.objectives.advantages import advantages
from services.retrain.adapters.objectives.rows import Row


def grao(rows: Sequence[Row], imitation_weight: float, alignment_weight: float) -> Tensor:
    """[rows]: the negative of the sum of three: the mean over o of A s(o); imitation_weight A s(y);
    alignment_weight times the mean over o of A (s(o) - s(y)). s is the log-probability per token, in nats; o
    the rejected answer and the samples, y the chosen answer; A the advantage of what it stands by."""
    return torch.stack([_loss(row, imitation_weight, alignment_weight) for row in rows])


def _loss(row: Row, imitation_weight: float, alignment_weight: float) -> Tensor:
    found = advantages(row.pair).to(row.chosen.policy.device)
    example, others = found[0], found[1:]
    means = torch.stack([row.rejected.mean, *(one.mean for one in row.samples)])
    explored = (others * means).mean()
    imitated = example * row.chosen.mean
    aligned = (others * (means - row.chosen.mean)).mean()
    return -(explored + imitation_weight * imitated + alignment_weight * aligned)
