"""The gradient of a step's mean loss. Only one row's graph is in memory at a time.

Where the loss of a row depends on that row alone, each row is one forward and one backward pass. Where it
depends on the step's other rows (a sort over them, a mean), there are two passes: the first computes the
log-probabilities of all rows without a graph, and the loss's gradient with respect to them; the second computes
each row's log-probabilities again, with a graph, and sends that gradient back through it. By the chain
rule both give the gradient of one graph over the whole step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from services.retrain.adapters.objectives.kept import lost
from services.retrain.adapters.objectives.rows import Row, Scored, margins
from services.retrain.adapters.objectives.sft import nll
from services.retrain.adapters.objectives.table import Objective
from services.retrain.adapters.policy import LoraPolicy
from services.retrain.adapters.prepared import KeptRow, Prepared
from services.retrain.adapters.ranks import Ranks
from services.retrain.domain.training import TrainingPlan


@dataclass(frozen=True, slots=True)
class StepGradient:
    """Adds to the gradients of the policy's parameters. Of several processes (`ranks`) each has some of the
    step's rows, and all need not have any."""

    policy: LoraPolicy
    objective: Objective
    plan: TrainingPlan
    ranks: Ranks

    def of(self, kept: Mapping[int, KeptRow], count: int) -> list[tuple[float, Row]]:
        """`kept`: this process's rows by their place in the step, which has `count` rows in all. Returns the
        loss of each, with the row as it was scored, without graph."""
        if self.objective.is_whole_batch:
            return self._in_two_passes(kept, count)
        return [self._in_one_pass(row, count) for row in kept.values()]

    def keep(self, praised: Mapping[int, Prepared], count: int) -> list[float]:
        """Of praised answers: those of this process, of the step's `count`. Returns what is lost of each, in
        nats per token."""
        return [self._kept(one, count) for one in praised.values()]

    def _kept(self, prepared: Prepared, count: int) -> float:
        (now,) = self.policy.log_probabilities(prepared)
        (reference,) = prepared.references
        loss = lost(Scored(now, reference))
        (self.plan.keep_weight * loss / count).backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _in_one_pass(self, kept: KeptRow, count: int) -> tuple[float, Row]:
        row = kept.scored(self.policy)
        loss = kept.weight * self._losses([row])[0]
        (loss / count).backward()  # type: ignore[no-untyped-call]
        return loss.item(), row.detached()

    def _in_two_passes(self, kept: Mapping[int, KeptRow], count: int) -> list[tuple[float, Row]]:
        with torch.no_grad():
            own = {place: row.scored(self.policy).detached() for place, row in kept.items()}
        rows = [row for _, row in sorted(self.ranks.merged(own).items())]
        for leaf in (one for row in rows for group in row.groups for one in group):
            leaf.policy.requires_grad_()
        losses = self._losses(rows)
        (losses.sum() / count).backward()  # type: ignore[no-untyped-call]
        for place, kept_row in kept.items():
            for group, scored in zip(kept_row.groups, rows[place].groups, strict=True):
                self._send_back(group, [one.policy.grad for one in scored])
        return [(losses[place].item(), rows[place]) for place in kept]

    def _send_back(self, group: Prepared, gradients: Sequence[Tensor | None]) -> None:
        """Groups that the loss only looks at have no gradient, and cost no second pass."""
        if all(one is None for one in gradients):
            return
        found = zip(self.policy.log_probabilities(group), gradients, strict=True)
        reached = [(log_p, one.to(log_p.device)) for log_p, one in found if one is not None]
        torch.autograd.backward([log_p for log_p, _ in reached], [one for _, one in reached])

    def _losses(self, rows: Sequence[Row]) -> Tensor:
        losses = self.objective.loss(rows, self.plan)
        if self.objective.is_anchored:
            losses = losses + self.plan.nll_weight * nll(rows)
        return losses


def figures_of(row: Row, beta: float) -> tuple[float, float, float, float]:
    """(margin, accuracy, nll, chosen_change) as in TrainingStep; margin and accuracy are 0 for a row without
    rejected answer."""
    with torch.no_grad():
        margin = margins([row], beta).item() if len(row.groups[0]) > 1 else 0.0
        change = row.chosen.log_ratio.item()
        return margin, float(margin > 0), nll([row]).item(), change
