"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290, equation 7).

Persona-conditioned as in RLHI (arXiv 2509.25137): the persona stands in the prompt of policy and
reference alike, so it is already part of these log-probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import logsigmoid

from services.retrain.adapters.objectives.rows import Row, margins


def dpo(rows: Sequence[Row], beta: float) -> Tensor:
    """-log sigmoid(margin) of each row, shape [rows], with the margin of the implicit reward (rows.margins).
    Equal to log 2 where the policy is the reference."""
    return -logsigmoid(margins(rows, beta))
