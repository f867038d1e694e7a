"""One adapter for every weighing of the groups of people, of which one is handed over (Panacea, Zhong et al.
2024, arXiv 2402.02030).

The paper adds U diag(sigma_1 .. sigma_k, s lambda_1 .. s lambda_m) V to a weight matrix, where lambda weighs m
preferences: one is drawn from the simplex at each step, the loss is the sum of the preferences' losses by these
weights, and whoever serves chooses lambda without training again.

Departures:
1. The preferences are groups of people, and each one's loss is DPO's over its pairs.
2. sigma and s are 1: U and V are the adapter's two matrices, which can be as large as these could make them.
So what is handed over is an ordinary LoRA adapter, the first matrix's last m rows multiplied by lambda.
3. lambda is chosen here, by the rule of MaxMin-RLHF (arXiv 2402.08925): of a grid the one at which the largest
of the groups' losses is least, over the pairs that were trained on. Whether it helps is judged by others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

# Into how many parts the whole is divided between so many groups. With more than three it is given to one or
# to two of them, or to all alike.
_PARTS = {1: 1, 2: 4, 3: 3}


def drawn(count: int, number: int, seed: int) -> tuple[float, ...]:
    """The weights of `count` groups in step `number`: uniform on the simplex."""
    found = np.random.default_rng([seed, number, count]).standard_exponential(count)
    return tuple(map(float, found / found.sum()))


def row_weights(
    groups: Sequence[str], names: Sequence[str], weights: Sequence[float]
) -> list[float]:
    """Of each row, whose group `groups` names: such that the mean over the rows is the sum over `names` of
    weight times the group's mean. What groups without a row have is lost to this step."""
    sizes = Counter(groups)
    of = dict(zip(names, weights, strict=True))
    return [of[group] * len(groups) / sizes[group] for group in groups]


def grid(count: int) -> list[tuple[float, ...]]:
    """Weights of `count` groups to choose from, the same for all first."""
    parts = _PARTS.get(count, 2)
    # Where the bars stand between the groups' parts.
    bars = combinations(range(parts + count - 1), count - 1)
    found = [
        tuple(
            (after - before - 1) / parts
            for before, after in zip((-1, *one), (*one, parts + count - 1), strict=True)
        )
        for one in bars
    ]
    alike = (1 / count,) * count
    return [alike, *(one for one in found if one != alike)]


def for_the_worst_off(losses: Mapping[tuple[float, ...], Sequence[float]]) -> tuple[float, ...]:
    """`losses`: of each group, by the weights at which they were measured. Of equally good ones the first."""
    return min(losses, key=lambda weights: max(losses[weights]))
