"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290, equation 7).

Persona-conditioned as in RLHI (arXiv 2509.25137): the persona stands in the prompt of policy and
reference alike, so it is already part of these log-probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def dpo(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """(loss, margin) of each pair, shape [pairs], from summed log-probabilities of the answers in
    nats.

    margin = beta * ((chosen - ref_chosen) - (rejected - ref_rejected)), the implicit reward's
    margin; loss = -log sigmoid(margin). Equal to log 2 where the policy is the reference.
    """
    margin = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
    return -logsigmoid(margin), margin.detach()


def sigmoid_accuracy(margin: Tensor) -> float:
    """The share of pairs whose margin is above zero."""
    return float((margin > 0).to(torch.float32).mean())
