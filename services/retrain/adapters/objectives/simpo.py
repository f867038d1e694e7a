"""Simple preference optimisation (Meng et al. 2024, arXiv 2405.14734, equation 6). The reference has no part in
it: what an answer is worth is the policy's own log-probability per token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from services.retrain.adapters.objectives.rows import Row


def simpo(rows: Sequence[Row], beta: float, target_margin: float) -> Tensor:
    """-log sigmoid(beta * (mean of the chosen - mean of the rejected) - target_margin) of each row, shape
    [rows]."""
    ahead = torch.stack([row.chosen.mean - row.rejected.mean for row in rows])
    return -logsigmoid(beta * ahead - target_margin)
