"""What must not be lost: answers that their users praised stay as likely as they were.

After the penalty of DPO-Positive (Pal et al. 2024, arXiv 2402.13228, eq. 3): max(0, log(ref / policy)), which
is 0 as long as the policy finds an answer at least as likely as the reference does. Departures: it is of
praised answers, which have no rejected one, not of a pair's chosen answer; it is added to the objective's loss
instead of standing within its sigmoid, so that every objective can have it; it is per token, so that a long
answer weighs no more than a short one; and it begins at SLACK, so that what rounding adds pulls nothing.
"""

from __future__ import annotations

from torch import Tensor

from services.retrain.adapters.objectives.rows import Scored

# Nats per token that an answer may lose.
SLACK = 0.01


def lost(praised: Scored) -> Tensor:
    """By how much more than SLACK the answer is less likely under the policy than under the reference, in nats
    per token; 0 where it is not."""
    before = praised.reference.sum() / len(praised.reference)
    return (before - praised.mean - SLACK).relu()
