"""What answers gained, and how far one step may follow it: GRPO's advantage within a group (Shao et al. 2024,
arXiv 2402.03300), the clipped surrogate of PPO (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

import torch
from torch import Tensor

from services.retrain.adapters.encoded import EncodedPair
from services.retrain.adapters.objectives.rows import Scored


def rewards_of(pair: EncodedPair) -> list[float]:
    """Of the chosen answer, the rejected one and the samples, above the rejected answer's. That a pair was
    stated, and judged by no reward model, counts as a reward of 1 for its chosen answer."""
    return [pair.reward_margin or 1.0, 0.0, *(one.reward_margin for one in pair.samples)]


def clipped(answer: Scored, advantage: Tensor | float, clip_low: float, clip_high: float) -> Tensor:
    """[tokens]: -min(ratio A, clipped ratio A); the ratio is to the policy that wrote the answer."""
    ratio = (answer.policy - answer.wrote).exp()
    within = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    return -torch.minimum(ratio * advantage, within * advantage)


def advantages(pair: EncodedPair) -> Tensor:
    """[answers]: the reward minus the mean of all, divided by their standard deviation (of the population);
    zeros if all rewards are equal."""
    rewards = torch.tensor(rewards_of(pair))
    spread = rewards.std(correction=0)
    return (rewards - rewards.mean()) / spread if spread > 0 else torch.zeros_like(rewards)
