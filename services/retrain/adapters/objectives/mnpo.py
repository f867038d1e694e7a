"""Multiplayer Nash preference optimisation (MNPO, Wu et al. 2025, arXiv 2509.23102), in its time-dependent
form: the opponents are the policy as it formerly was, here its champions.

Its cases:
- INPO (Zhang et al. 2024, arXiv 2407.00617): one champion (`history` 1), reference_weight = its tau / eta.
- ONPO's loss (Zhang et al. 2025, arXiv 2502.16852): one champion as the anchor, reference_weight 0, and
  `eta` = 1 / its eta, so that the target is half of its eta. Its second training of each round is not here.
- Without a trained champion: the reference alone, (policy - reference - target)^2.

Departures:
1. All log-probabilities are summed over the answer. The authors' trainer has the policy's averaged per token.
2. `eta` is 0.25, which aims at 2 nats; the paper's 0.0075 aims at 67, where a small model with LoRA breaks.
3. One round on the pairs of people, instead of several on answers that a reward model ranked.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from services.retrain.adapters.objectives.rows import Row


def mnpo(rows: Sequence[Row], reference_weight: float, newest_weight: float, eta: float) -> Tensor:
    """[rows]: (policy - reference_weight * reference - (1 - reference_weight) * champions - 1 / (2 eta))^2,
    where each is the difference of its log p, chosen - rejected, in nats. Of two champions the newer one has
    the weight `newest_weight`, the older one the rest; one alone has all, and without any the reference has."""
    ahead = [_ahead(row, reference_weight, newest_weight) for row in rows]
    return (torch.stack(ahead) - 1 / (2 * eta)) ** 2


def _ahead(row: Row, reference_weight: float, newest_weight: float) -> Tensor:
    """How much further apart the policy finds the two answers than its opponents do."""
    policy = row.chosen.policy.sum() - row.rejected.policy.sum()
    reference = row.chosen.reference.sum() - row.rejected.reference.sum()
    past = zip(row.chosen.history, row.rejected.history, strict=True)
    champions = [chosen.sum() - rejected.sum() for chosen, rejected in past] or [reference]
    weights = (newest_weight, 1 - newest_weight) if len(champions) == 2 else (1.0,)
    found = zip(weights, champions, strict=True)
    mixed = torch.stack([weight * champion for weight, champion in found]).sum()
    return policy - reference_weight * reference - (1 - reference_weight) * mixed
