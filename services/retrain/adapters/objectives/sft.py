"""Supervised fine-tuning on the chosen answers: the control, and the anchor beside DPO."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from services.retrain.adapters.objectives.rows import Row


def nll(rows: Sequence[Row]) -> Tensor:
    """Negative log-likelihood of the chosen answer per token, shape [rows], in nats.

    Averaged over the answer, so that long answers do not count more than short ones.
    """
    return torch.stack([-row.chosen.mean for row in rows])
