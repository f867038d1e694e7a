"""Hindsight self-distillation: the model that knows what the user said next teaches the one that does not
(Reinforcement Learning via Self-Distillation, Hübotter et al. 2026, arXiv 2601.20802).

The rejected answer is read twice: after the plain prompt, and after the prompt with the user's follow-up as a
hint. For each of its tokens, a = log p(hinted) - log p(plain) says whether the hint makes it likelier. The loss
is a²/2, whose gradient is that of -a log p(plain) with a held fixed: the policy gradient with a as the
advantage, and the gradient of the KL divergence to the hinted model at this token. It is zero where the policy,
without the hint, says what the hinted model says: the target is finite. No chosen answer is needed.

Departures:
1. The hint is a user's follow-up, not an error of a program.
2. The teacher is the untrained model with the hint, and stays it; the paper's follows the policy.
3. The answer was written by a version that served, not by the policy as it is now. So beyond `hint_clip` nats
the loss is linear (Huber), and no token pulls harder than that.
4. Only the token that was written counts, not the whole distribution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from services.retrain.adapters.objectives.rows import Row

# A token is marked if the hint changes its likelihood by more than this factor.
_FACTOR = 1.1


def hindsight(rows: Sequence[Row], hint_clip: float) -> Tensor:
    """[rows]: the mean over the rejected answer's tokens; 0 where the user said nothing."""
    return torch.stack([_loss(row, hint_clip) for row in rows])


def hinted(row: Row) -> Tensor:
    """[tokens] of the rejected answer, true where the hint changes how likely it is. Empty without a hint."""
    if row.judged is None:
        return torch.zeros(0, dtype=torch.bool)
    change = row.judged.reference - row.rejected.policy.detach()
    return change.abs() > torch.tensor(_FACTOR).log()


def _loss(row: Row, hint_clip: float) -> Tensor:
    if row.judged is None:
        return 0.0 * row.rejected.policy.sum()
    return huber_loss(row.rejected.policy, row.judged.reference, delta=hint_clip)
