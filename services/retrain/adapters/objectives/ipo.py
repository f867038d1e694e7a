"""Identity preference optimisation (Azar et al. 2023, arXiv 2310.12036, equation 17).

Departure: log-ratios are averaged over an answer's tokens, so that a longer answer
does not reach the target sooner. `beta` is the paper's tau.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from services.retrain.adapters.objectives.rows import Row


def ipo(rows: Sequence[Row], beta: float) -> Tensor:
    """(difference of the mean log-ratios per token - 1 / (2 beta))^2 of each row, shape [rows]. A finite
    target: it also pulls back a row that is beyond it."""
    differences = [
        row.chosen.log_ratio / len(row.chosen.policy)
        - row.rejected.log_ratio / len(row.rejected.policy)
        for row in rows
    ]
    return (torch.stack(differences) - 1 / (2 * beta)) ** 2
