"""DPO for the group of people that is worst off (MaxMin-RLHF, Chakraborty et al. 2024, arXiv 2402.08925).

Departures:
1. The paper learns groups and a reward model for each, and maximises the least reward. Here pairs carry the
groups that were learnt before, and the largest of the groups' DPO losses is minimised, as in group DRO
(Sagawa et al. 2020, arXiv 1911.08731).
2. The largest is a soft one over the groups of one step, log(sum of exp(sharpness * loss)) / sharpness. Group
DRO keeps weights from step to step. So nothing needs to be kept, but a step must have dozens of pairs: the mean
of a group that has two pairs in a step says little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from services.retrain.adapters.encoded import EncodedPair
from services.retrain.adapters.objectives.dpo import dpo
from services.retrain.adapters.objectives.rows import Row
from shared.language.groups import UNKNOWN


def maxmin(rows: Sequence[Row], beta: float, group_sharpness: float) -> Tensor:
    """[rows]: DPO's losses, weighed so that their mean has the gradient of the soft maximum. With one group
    they are DPO's."""
    losses = dpo(rows, beta)
    groups = [row.pair.group for row in rows]
    return losses * weights(losses.detach(), groups, group_sharpness)


def weights(losses: Tensor, groups: Sequence[str], sharpness: float) -> Tensor:
    """[rows], 1 in the mean: each group has a part of the whole that grows with its mean loss, and its rows
    share it. At a sharpness of 0 all groups have the same part."""
    places = {
        name: [n for n, one in enumerate(groups) if one == name] for name in sorted(set(groups))
    }
    means = torch.stack([losses[where].mean() for where in places.values()])
    found = torch.empty_like(losses)
    parts = torch.softmax(sharpness * means, dim=0)
    for part, where in zip(parts, places.values(), strict=True):
        found[where] = part * (len(groups) / len(where))
    return found


def told_apart(pairs: Sequence[EncodedPair], least: int) -> list[EncodedPair]:
    """Pairs of groups with fewer than `least` pairs are among those of no known group."""
    sizes = Counter(pair.group for pair in pairs)
    return [pair if sizes[pair.group] >= least else replace(pair, group=UNKNOWN) for pair in pairs]
