"""Fine-grained quality signals (FIGA, Guo et al. 2023, arXiv 2311.04072): what a rewrite changed is learnt,
what it kept is left alone, and what it removed is unlearnt where the policy is still sure of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from services.retrain.adapters.encoded import EncodedPair
from services.retrain.adapters.objectives.rows import Row

Ids = tuple[int, ...]


def figa(rows: Sequence[Row], removed_weight: float, removed_below: float) -> Tensor:
    """[rows]: the sum of weight * -log p over the tokens with a weight, divided by how many these are. New
    tokens of the chosen answer and its end have 1; removed tokens of the rejected one have -removed_weight,
    as long as their -log p is at most `removed_below`, in nats; its end has none."""
    return torch.stack([_loss(row, removed_weight, removed_below) for row in rows])


def edit_share(pair: EncodedPair) -> float:
    """The share of the chosen answer's tokens that the rejected one does not have there. Near 1, this is
    SFT."""
    new, _ = edits(pair.rejected, pair.chosen)
    return sum(new) / len(new)


def _loss(row: Row, removed_weight: float, removed_below: float) -> Tensor:
    pair = row.pair
    new, removed = (torch.tensor(one) for one in edits(pair.rejected, pair.chosen))
    learnt = -row.chosen.policy
    new = new.to(learnt.device) | _is_end(pair.chosen, pair.end).to(learnt.device)
    unlearnt = -row.rejected.policy
    removed = removed.to(unlearnt.device) & ~_is_end(pair.rejected, pair.end).to(unlearnt.device)
    removed = removed & (unlearnt.detach() <= removed_below)
    total = learnt[new].sum() - removed_weight * unlearnt[removed].sum()
    return total / (new.sum() + removed.sum()).clamp(min=1)


def _is_end(answer: Ids, end: int | None) -> Tensor:
    last = len(answer) - 1
    return torch.tensor([place == last and token == end for place, token in enumerate(answer)])


@lru_cache(maxsize=2048)
def edits(former: Ids, revised: Ids) -> tuple[list[bool], list[bool]]:
    """(which tokens of `revised` are inserted or replaced, which of `former` are deleted or replaced) in a
    shortest list of edits (Levenshtein); of several, one that replaces late in the answers."""
    costs = _costs(former, revised)
    new, removed = [False] * len(revised), [False] * len(former)
    i, j = len(former), len(revised)
    while i or j:
        if i and j and costs[i][j] == costs[i - 1][j - 1] + (former[i - 1] != revised[j - 1]):
            i, j = i - 1, j - 1
            new[j] = removed[i] = former[i] != revised[j]
        elif i and costs[i][j] == costs[i - 1][j] + 1:
            i -= 1
            removed[i] = True
        else:
            j -= 1
            new[j] = True
    return new, removed


def _costs(former: Ids, revised: Ids) -> list[list[int]]:
    """[i][j]: how many edits make the first j tokens of `revised` of the first i of `former`."""
    costs = [list(range(len(revised) + 1))]
    for i, token in enumerate(former, start=1):
        above, row = costs[-1], [i]
        for j, other in enumerate(revised, start=1):
            row.append(min(above[j - 1] + (token != other), above[j] + 1, row[-1] + 1))
        costs.append(row)
    return costs
