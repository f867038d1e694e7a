"""Supervised fine-tuning on the chosen answers: the control, and the anchor beside DPO."""

from __future__ import annotations

from torch import Tensor


def nll(log_probability: Tensor, tokens: Tensor) -> Tensor:
    """Negative log-likelihood per token, shape [answers], in nats, from summed log-probabilities.

    Averaged over the answer, so that long answers do not count more than short ones.
    """
    return -log_probability / tokens
