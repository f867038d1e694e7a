"""Rows whose log-probabilities a test writes down."""

from __future__ import annotations

import torch

from services.retrain.adapters.encoded import EncodedPair
from services.retrain.adapters.objectives.rows import Row, Scored


def scored(policy: list[float], reference: list[float] | None = None) -> Scored:
    """Without a reference it is the policy itself."""
    kept = torch.tensor(policy if reference is None else reference)
    return Scored(torch.tensor(policy, requires_grad=True), kept)


def row(chosen: Scored, *rejected: Scored, groups: tuple[tuple[Scored, ...], ...] = ()) -> Row:
    return Row(EncodedPair((), (), ()), ((chosen, *rejected), *groups))
