"""Rows whose log-probabilities a test writes down."""

from __future__ import annotations

import torch

from services.retrain.adapters.encoded import EncodedPair
from services.retrain.adapters.objectives.rows import Row, Scored


def scored(
    policy: list[float], reference: list[float] | None = None, *history: list[float]
) -> Scored:
    """Without a reference it is the policy itself. `history`: of champions, the newest first."""
    kept = torch.tensor(policy if reference is None else reference)
    past = tuple(map(torch.tensor, history))
    return Scored(torch.tensor(policy, requires_grad=True), kept, past)


def row(
    chosen: Scored,
    *rejected: Scored,
    others: tuple[Scored, ...] = (),
    pair: EncodedPair | None = None,
) -> Row:
    """`others`: the answers of its second group."""
    groups = ((chosen, *rejected), others) if others else ((chosen, *rejected),)
    return Row(pair or EncodedPair((), (), ()), groups)


def shifted(ratio: float) -> Scored:
    """An answer of two tokens whose log-ratio is `ratio`."""
    return scored([-2.0 + ratio / 2, -1.0 + ratio / 2], [-2.0, -1.0])


def gradient(answer: Scored) -> list[float]:
    assert answer.policy.grad is not None
    found: list[float] = answer.policy.grad.tolist()
    return found
