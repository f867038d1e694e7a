"""What is computed once of a group and of a pair, and kept for every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from services.retrain.adapters.encoded import EncodedPair
from services.retrain.adapters.objectives.rows import Row, Scored, Worth
from services.retrain.adapters.packing import Shape

if TYPE_CHECKING:  # it imports transformers and PEFT
    from services.retrain.adapters.policy import LoraPolicy


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is kept of a group. `hidden`: [1, tokens, width] before the first trained layer, packed by `shape`.
    The others have one item for each answer, in their order. `answers`: the ids to be predicted, [tokens];
    `references`: their log-probabilities under the untrained policy, [tokens], fp32, in nats; `histories`:
    those under each of its champions, the newest first. `is_fixed`: see Group."""

    shape: Shape
    hidden: Tensor
    answers: tuple[Tensor, ...]
    references: tuple[Tensor, ...]
    histories: tuple[tuple[Tensor, ...], ...]
    is_fixed: bool = False


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A pair with what the policy keeps of its groups. `worth`: of the answers of the first one, if the
    objective takes a critic. `weight`: of its loss in the step."""

    pair: EncodedPair
    groups: tuple[Prepared, ...]
    worth: tuple[Worth, ...] = ()
    weight: float = 1.0

    def scored(self, policy: LoraPolicy) -> Row:
        """As the policy is now, with a graph unless gradients are off."""
        answers = (
            tuple(map(Scored, _now(policy, group), group.references, group.histories))
            for group in self.groups
        )
        first, *others = answers
        if self.worth:
            told = zip(first, self.worth, strict=True)
            first = tuple(replace(one, worth=worth) for one, worth in told)
        return Row(self.pair, (first, *others))

    def untrained(self) -> Row:
        """With the reference as the policy."""
        answers = (
            tuple(map(Scored, group.references, group.references, group.histories))
            for group in self.groups
        )
        return Row(self.pair, tuple(answers))


def _now(policy: LoraPolicy, group: Prepared) -> Sequence[Tensor]:
    return group.references if group.is_fixed else policy.log_probabilities(group)
