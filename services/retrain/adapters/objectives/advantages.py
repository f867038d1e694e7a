"""By how much each of a pair's answers is better than all of them: GRPO's advantage within a group (Shao et al.
2024, arXiv 2402.03300)."""

from __future__ import annotations

import torch
from torch import Tensor

from services.retrain.adapters.encoded import EncodedPair


def advantages(pair: EncodedPair) -> Tensor:
    """[answers]: of the chosen answer, the rejected one and the samples, the reward minus the mean of all,
    divided by their standard deviation (of the population); zeros if all rewards are equal. That a pair was
    stated, and judged by no reward model, counts as a reward of 1 for its chosen answer."""
    chosen = pair.reward_margin or 1.0
    rewards = torch.tensor([chosen, 0.0, *(one.reward_margin for one in pair.samples)])
    spread = rewards.std(correction=0)
    return (rewards - rewards.mean()) / spread if spread > 0 else torch.zeros_like(rewards)
