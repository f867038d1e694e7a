"""What must not be lost: answers that their users praised stay as likely as they were, token by token.

After the penalty of DPO-Positive (Pal et al. 2024, arXiv 2402.13228, eq. 3): max(0, log(ref / policy)), which
is 0 as long as the policy finds an answer at least as likely as the reference does. Departures: it is of
praised answers, which have no rejected one, not of a pair's chosen answer; it is added to the objective's loss
instead of standing within its sigmoid, so that every objective can have it; it begins at SLACK, so that what
rounding adds pulls nothing; and it is of each token, not of the whole answer. That decides: a policy that
learns to stop early loses a long answer at the few tokens that might have been its end, and what it gains at
the others makes up for that in the sum.
"""

from __future__ import annotations

from torch import Tensor

from services.retrain.adapters.objectives.rows import Scored

# Nats that a token may lose.
SLACK = 0.05


def lost(praised: Scored) -> Tensor:
    """By how much more than SLACK its tokens are less likely under the policy than under the reference: the
    mean over all tokens, in nats, with 0 for those that are not."""
    return (praised.reference - praised.policy - SLACK).relu().mean()
