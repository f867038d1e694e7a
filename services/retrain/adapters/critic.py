"""What is still to come of an answer's reward, token by token, for ppo_max.

The critic is linear in what the frozen layers make of the text so far (Prepared.hidden), which is there anyway,
and is fitted by ridge regression to the scaled rewards of the snapshot's answers before the first step. Each
half of the pairs is told by the critic of the other half: one that had seen an answer would know its reward
from the first token on, and leave nothing to learn.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from services.retrain.adapters.objectives.advantages import rewards_of
from services.retrain.adapters.objectives.rows import Worth
from services.retrain.adapters.packing import Packing
from services.retrain.adapters.prepared import KeptRow, Prepared

# Of the ridge, beside features of unit variance.
_RIDGE = 0.1


def scaled(rewards: Sequence[float], clip: float) -> list[float]:
    """Each minus the mean of all, in their standard deviations (of the population), within -clip and clip;
    zeros if all are equal."""
    found = torch.tensor(rewards, dtype=torch.float64)
    spread = found.std(correction=0)
    if not spread > 0:
        return [0.0] * len(rewards)
    kept: list[float] = ((found - found.mean()) / spread).clamp(-clip, clip).tolist()
    return kept


def worths(rows: Sequence[KeptRow], clip: float) -> list[tuple[Worth, ...]]:
    """Of the answers of each row's first group."""
    rewards = scaled([one for row in rows for one in rewards_of(row.pair)], clip)
    each, place = [], 0
    for row in rows:
        count = len(rewards_of(row.pair))
        each.append(rewards[place : place + count])
        place += count
    halves = [range(half, len(rows), 2) for half in (0, 1)]
    critics = [
        _Critic([rows[n].groups[0] for n in half], [each[n] for n in half]) for half in halves
    ]
    return [
        tuple(map(Worth, each[n], critics[1 - n % 2].of(row.groups[0])))
        for n, row in enumerate(rows)
    ]


class _Critic:
    """One that was told of no answer expects nothing."""

    def __init__(self, groups: Sequence[Prepared], rewards: Sequence[Sequence[float]]) -> None:
        self._weights: Tensor | None = None
        if not groups:
            return
        features = torch.cat([_features(one) for one in groups])
        targets = torch.cat(
            [
                torch.full((length,), reward, dtype=torch.float64, device=features.device)
                for group, told in zip(groups, rewards, strict=True)
                for length, reward in zip(group.shape.answers, told, strict=True)
            ]
        )
        self._mean, self._spread = features.mean(0), features.std(0, correction=0) + 1e-6
        known = (features - self._mean) / self._spread
        self._level = targets.mean()
        ridge = (
            _RIDGE * len(known) * torch.eye(known.shape[1], dtype=known.dtype, device=known.device)
        )
        self._weights = torch.linalg.solve(
            known.T @ known + ridge, known.T @ (targets - self._level)
        )

    def of(self, group: Prepared) -> list[Tensor]:
        """[tokens] of each answer, fp32."""
        lengths = list(group.shape.answers)
        if self._weights is None:
            return [torch.zeros(length, device=group.hidden.device) for length in lengths]
        known = (_features(group) - self._mean) / self._spread
        return list(torch.split((known @ self._weights + self._level).float(), lengths))


def _features(group: Prepared) -> Tensor:
    """[answer tokens, width], fp64: what is known before each."""
    places = Packing(group.shape, group.hidden.device).predicting
    return group.hidden[0, places].double()
