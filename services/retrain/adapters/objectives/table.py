"""The objectives by name: what each needs of a pair, and its loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.retrain.adapters.encoded import EncodedPair, Group
from services.retrain.adapters.objectives.dpo import dpo
from services.retrain.adapters.objectives.rows import Loss
from services.retrain.adapters.objectives.sft import nll


@dataclass(frozen=True, slots=True)
class Objective:
    """`is_anchored`: whether `nll_weight` times the NLL of the chosen answer is added to its loss.
    `is_whole_batch`: whether the loss of a row depends on the other rows of its step."""

    loss: Loss
    takes_rejected: bool = True
    is_anchored: bool = True
    is_whole_batch: bool = False

    def groups(self, pair: EncodedPair) -> tuple[Group, ...]:
        """The first has the chosen answer, and the rejected one if the objective takes it."""
        answers = (pair.chosen, pair.rejected) if self.takes_rejected else (pair.chosen,)
        return (Group(pair.prompt, answers),)


OBJECTIVES: Mapping[str, Objective] = {
    "dpo": Objective(lambda rows, plan: dpo(rows, plan.beta)),
    "sft": Objective(lambda rows, _: nll(rows), takes_rejected=False, is_anchored=False),
}
