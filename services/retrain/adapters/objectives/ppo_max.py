"""PPO-max (Zheng et al. 2023, "Secrets of RLHF in Large Language Models Part I: PPO", arXiv 2307.04964):
rewards are scaled and clipped, what the policy gains over the reference is charged token by token, a critic
that was trained before tells what was still to come, and each token's step is clipped.

Departures: the answers were sampled once, by the version that served, not anew in each step, so this is the one
step that the clipping allows from there; the mean and deviation of rewards are those of the whole snapshot
instead of running ones; the critic (critic.py) is linear and is not trained further; what is mixed in against
forgetting is the chosen answers' NLL (`nll_weight`), not text of before.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from services.retrain.adapters.objectives.advantages import clipped
from services.retrain.adapters.objectives.rows import Row, Scored


def ppo_max(
    rows: Sequence[Row], clip_low: float, clip_high: float, kl_charge: float, gae_lambda: float
) -> Tensor:
    """[rows]: the mean over the answers of the mean over their tokens of -min(ratio A, clipped ratio A). The
    ratio is to the newest champion, which wrote the answers, or else to the reference."""
    return torch.stack([_loss(row, clip_low, clip_high, kl_charge, gae_lambda) for row in rows])


def _loss(
    row: Row, clip_low: float, clip_high: float, kl_charge: float, gae_lambda: float
) -> Tensor:
    losses = [
        clipped(one, advantages_of(one, kl_charge, gae_lambda), clip_low, clip_high).mean()
        for one in row.groups[0]
    ]
    return torch.stack(losses).mean()


def advantages_of(answer: Scored, kl_charge: float, gae_lambda: float) -> Tensor:
    """[tokens], by generalised advantage estimation without discount (Schulman et al. 2016, arXiv 1506.02438):
    A_t = d_t + lambda A_(t+1), d_t = r_t + V_(t+1) - V_t, where the value after the last token is 0."""
    if answer.worth is None:
        raise ValueError("ppo_max needs what a critic expects of each answer")
    rewards = token_rewards(answer, answer.worth.reward, kl_charge)
    values = answer.worth.values
    steps = rewards + torch.cat([values[1:], values.new_zeros(1)]) - values
    ahead, found = 0.0, []
    for step in reversed(steps.tolist()):
        ahead = step + gae_lambda * ahead
        found.append(ahead)
    return torch.tensor(found[::-1], device=values.device)


def token_rewards(answer: Scored, reward: float, kl_charge: float) -> Tensor:
    """[tokens]: minus `kl_charge` times what the policy that wrote it had gained over the reference, in nats;
    the answer's reward comes with its last token."""
    found = -kl_charge * (answer.wrote - answer.reference)
    found[-1] += reward
    return found
