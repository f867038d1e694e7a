"""The training loop. Reads from top to bottom and resumes from its checkpoint.

The objective is one of objectives/table.py: DPO plus a share of NLL on the chosen answer, or NLL alone for
the control. What it needs of a pair is prepared once and kept; step_gradient.py computes a step's gradient.
Departures from RLHI's set-up, which trains all weights of an 8B model on GPUs:
1. LoRA on the last layers only; the frozen layers' hidden states are computed once (policy.py).
2. The persona is in the prompt of only a seeded share of the pairs: serving adds personas to prompts only
where that is switched on, so the policy must also learn to do without.
3. A constant learning rate, and a stop when the mean margin of the last three steps is reached: on a small
model everything depends on how far it is pushed, and a fixed number of epochs is fragile.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.retrain.adapters.critic import worths
from services.retrain.adapters.encoded import EncodedPair, Group
from services.retrain.adapters.objectives.maxmin import told_apart
from services.retrain.adapters.objectives.panacea import (
    drawn,
    for_the_worst_off,
    grid,
    row_weights,
)
from services.retrain.adapters.objectives.rows import Row, margins
from services.retrain.adapters.objectives.table import OBJECTIVES
from services.retrain.adapters.policy import LoraPolicy
from services.retrain.adapters.prepared import KeptRow, Prepared
from services.retrain.adapters.ranks import ALONE, Ranks
from services.retrain.adapters.step_gradient import StepGradient, figures_of
from services.retrain.domain.training import Diverged, TrainingPlan, TrainingStep, Unsuitable

CHECKPOINT = "checkpoint.pt"
# How far the answers' log-probabilities may be from the reference's on average, in nats per token. At the
# margin of 1.5 where DPO stops, with a beta of 0.1, a pair's answers are 15 nats apart, all tokens together. An
# answer that is learnt by heart gains what it cost the reference: a few nats, for text.
KL_LIMIT = 10.0


Report = Callable[[TrainingStep], None]


class Trainer:
    """Trains `policy` on `pairs` by `plan`; everything it needs to resume is in `folder`. Of several
    processes (`ranks`), each has its own Trainer, with the same policy, pairs and plan."""

    def __init__(
        self,
        policy: LoraPolicy,
        pairs: Sequence[EncodedPair],
        plan: TrainingPlan,
        folder: Path,
        ranks: Ranks = ALONE,
        praised: Sequence[Group] = (),
    ) -> None:
        self._policy, self._plan, self._folder, self._ranks = policy, plan, folder, ranks
        self._praised, self._prepared = praised, dict[int, Prepared]()
        self._objective = OBJECTIVES[plan.objective]
        by_groups = self._objective.by_groups
        self._pairs = told_apart(pairs, plan.least_group_pairs) if by_groups else pairs
        # Those whose margins are told.
        self._groups = sorted({pair.group for pair in self._pairs}) if by_groups else []
        self._gradient = StepGradient(policy, self._objective, plan, ranks)
        self._kept: dict[int, KeptRow] = {}
        self._optimizer = torch.optim.AdamW(
            policy.parameters, lr=plan.learning_rate, weight_decay=0.0
        )
        self.steps: list[TrainingStep] = []

    def run(self, report: Report) -> list[TrainingStep]:
        """Trains until the margin is reached or the steps are used up. Returns every step so far. Raises
        Unsuitable before the first step if nothing can be learnt from these pairs, and Diverged before it
        writes anything of a step whose loss, gradient or weights are not finite, or whose answers are KL_LIMIT
        from the reference."""
        if not self._pairs:
            raise Unsuitable("no pair has two answers that still differ once they are cut")
        if self._objective.by_preference and len(self._groups) >= self._plan.rank:
            raise Unsuitable(
                f"{len(self._groups)} groups of people need an adapter of a greater rank than"
                f" {self._plan.rank}: raise `rank`, or `least_group_pairs`, so that smaller groups are one"
            )
        self._resume()
        if not self.steps:
            self._check_marked()
        if self._objective.takes_critic:
            self._ask_critic()
        while not self._is_done():
            step = self._step(len(self.steps))
            self.steps.append(step)
            report(step)
            if self._ranks.leads and len(self.steps) % self._plan.checkpoint_every == 0:
                self.save()
        return self.steps

    def _is_done(self) -> bool:
        if len(self.steps) >= self._plan.max_steps:
            return True
        if not self._objective.takes_rejected or len(self.steps) < 3:
            return False
        return sum(step.margin for step in self.steps[-3:]) / 3 >= self._plan.stop_margin

    def _step(self, number: int) -> TrainingStep:
        batch = self._batch(number)
        self._optimizer.zero_grad()
        places = self._ranks.share_of(range(len(batch)))
        kept, preference = self._weighed(number, {place: batch[place] for place in places})
        with self._policy.preferring([*preference.values()]):
            rows = self._gradient.of(kept, len(batch))
            praise = self._keep(number)
        totals = np.zeros(9 + 2 * len(self._groups))
        for loss, row in rows:
            marked, figures = (
                self._objective.marked(row, self._plan),
                figures_of(row, self._plan.beta),
            )
            of_groups = self._of_groups(row, figures[0])
            totals += np.array([loss, *figures, *marked, *_distance(row), *of_groups])
        totals = np.append(totals, praise)
        totals = self._ranks.add_up(self._policy.parameters, totals)
        norm = torch.nn.utils.clip_grad_norm_(self._policy.parameters, self._plan.clip_norm)
        mean, apart = totals / len(batch), totals[7] / totals[8]
        self._stop_unless(np.isfinite(mean[0]), number, "the loss is not a finite number")
        self._stop_unless(norm.isfinite(), number, "the gradient is not finite")
        words = f"the answers are {apart:+.1f} nats per token from the reference"
        self._stop_unless(abs(apart) <= KL_LIMIT, number, f"{words}, more than {KL_LIMIT:g}")
        self._optimizer.step()
        is_finite = all(bool(p.isfinite().all()) for p in self._policy.parameters)
        self._stop_unless(is_finite, number, "the weights are not finite after its update")
        return TrainingStep(
            step=number + 1,
            loss=float(mean[0]),
            margin=float(mean[1]),
            accuracy=float(mean[2]),
            nll=float(mean[3]),
            chosen_change=float(mean[4]),
            gradient_norm=float(norm),
            marked=_share(totals[5], totals[6]),
            praise_lost=_share(totals[-2], totals[-1]),
            group_margins=self._group_margins(totals[9:-2]),
            preference=preference,
        )

    def _weighed(
        self, number: int, own: Mapping[int, int]
    ) -> tuple[dict[int, KeptRow], dict[str, float]]:
        """This process's rows of step `number` by their place (`own`: which they are), and how that step weighs
        the groups, if its objective does."""
        if not self._objective.by_preference:
            return {place: self.row(index) for place, index in own.items()}, {}
        shares = drawn(len(self._groups), number, self._plan.seed)
        of = [self._pairs[index].group for index in self._batch(number)]
        weights = row_weights(of, self._groups, shares)
        rows = {place: replace(self.row(n), weight=weights[place]) for place, n in own.items()}
        return rows, dict(zip(self._groups, shares, strict=True))

    def settle(self) -> list[TrainingStep]:
        """After `run`: of an objective that weighs groups, one weighing is chosen, and the policy is what it is
        with that (objectives/panacea.py). Returns every step, of which the last one says which it is, and the
        groups' margins with it, over all pairs."""
        if not self._objective.by_preference:
            return self.steps
        found = {weights: self._at(weights) for weights in grid(len(self._groups))}
        chosen = for_the_worst_off({at: losses for at, (losses, _) in found.items()})
        self._policy.settle(chosen)
        ahead = dict(zip(self._groups, found[chosen][1], strict=True))
        preference = dict(zip(self._groups, chosen, strict=True))
        last = replace(self.steps[-1], group_margins=ahead, preference=preference)
        return [*self.steps[:-1], last]

    @torch.no_grad()
    def _at(self, weights: Sequence[float]) -> tuple[list[float], list[float]]:
        """With the groups weighed so, the mean loss and the mean margin of each."""
        with self._policy.preferring(weights):
            rows = [self.row(n).scored(self._policy) for n in range(len(self._pairs))]
        losses = self._objective.loss(rows, self._plan).tolist()
        ahead = margins(rows, self._plan.beta).tolist()
        places = [
            [n for n, row in enumerate(rows) if row.pair.group == name] for name in self._groups
        ]

        def by_group(values: Sequence[float]) -> list[float]:
            return [float(np.mean([values[n] for n in of])) for of in places]

        return by_group(losses), by_group(ahead)

    def _keep(self, number: int) -> tuple[float, int]:
        """Adds the gradient of the step's praised answers. Returns what is lost of them, in nats per token,
        added up, and how many are this process's."""
        if not self._praised or not self._plan.keep_weight:
            return 0.0, 0
        step = batch_of(number, len(self._praised), self._plan.keep_answers, self._plan.seed)
        own = {
            place: self._of_praise(step[place]) for place in self._ranks.share_of(range(len(step)))
        }
        losses = self._gradient.keep(own, len(step))
        return sum(losses), len(losses)

    def _of_praise(self, index: int) -> Prepared:
        if index not in self._prepared:
            self._prepared[index] = self._policy.prepare(self._praised[index])
        return self._prepared[index]

    def _of_groups(self, row: Row, margin: float) -> list[float]:
        """Of each group, the margin and 1 if the row is of it, else zeros."""
        is_of = [row.pair.group == name for name in self._groups]
        return [value for one in is_of for value in (margin * one, float(one))]

    def _group_margins(self, totals: np.ndarray[Any, Any]) -> dict[str, float]:
        found = zip(self._groups, totals.reshape(-1, 2), strict=True)
        return {name: float(margin / count) for name, (margin, count) in found if count}

    def _stop_unless(self, is_good: object, number: int, what: str) -> None:
        if not is_good:
            pairs = [self._pairs[index] for index in self._batch(number)]
            told = json.dumps([asdict(pair) for pair in pairs], sort_keys=True)
            raise Diverged.at(number + 1, hashlib.sha256(told.encode()).hexdigest()[:16], what)

    def _batch(self, number: int) -> list[int]:
        return batch_of(number, len(self._pairs), self._plan.batch_pairs, self._plan.seed)

    def row(self, index: int) -> KeptRow:
        if index not in self._kept:
            groups = self._objective.groups_at(self._pairs, index)
            self._kept[index] = KeptRow(
                self._pairs[index], tuple(map(self._policy.prepare, groups))
            )
        return self._kept[index]

    def _ask_critic(self) -> None:
        """Of several processes each prepares all pairs, as a critic learns of all."""
        rows = [self.row(n) for n in range(len(self._pairs))]
        for n, worth in enumerate(worths(rows, self._plan.reward_clip)):
            self._kept[n] = replace(rows[n], worth=worth)

    def _check_marked(self) -> None:
        least = self._objective.least_marked
        if not least:
            return
        rows = (self.row(n).untrained() for n, pair in enumerate(self._pairs) if pair.judged)
        found = [self._objective.marked(row, self._plan) for row in rows]
        share = _share(sum(marked for marked, _ in found), sum(of for _, of in found))
        if share < least:
            raise Unsuitable(
                f"what users said of {len(found)} of {len(self._pairs)} pairs marks {share:.1%} of the rejected"
                f" answers' tokens; {self._plan.objective} needs {least:.0%}, or it would teach what it is to"
                " unteach: train with another objective"
            )

    def save(self) -> None:
        """Atomic: after a kill there is either the former checkpoint or this one."""
        staging = self._folder / f"{CHECKPOINT}.staging"
        content = {
            "plan": json.dumps(asdict(self._plan), sort_keys=True),
            "lora": self._policy.state(),
            "optimizer": self._optimizer.state_dict(),
            "steps": [asdict(step) for step in self.steps],
        }
        torch.save(content, staging)
        staging.replace(self._folder / CHECKPOINT)

    def _resume(self) -> None:
        """A checkpoint of another plan is ignored: training starts from the beginning."""
        content = self._ranks.as_first(self._checkpoint() if self._ranks.leads else None)
        if content is None or content["plan"] != json.dumps(asdict(self._plan), sort_keys=True):
            return
        self._policy.load_state(content["lora"])
        self._optimizer.load_state_dict(content["optimizer"])
        self.steps = [TrainingStep(**step) for step in content["steps"]]

    def _checkpoint(self) -> dict[str, Any] | None:
        path = self._folder / CHECKPOINT
        if not path.exists():
            return None
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return content


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _distance(row: Row) -> tuple[float, int]:
    """(log policy - log reference, tokens) of all its answers together, in nats."""
    answers = [one for group in row.groups for one in group]
    return sum(one.log_ratio.item() for one in answers), sum(len(one.policy) for one in answers)


def batch_of(number: int, pairs: int, size: int, seed: int) -> list[int]:
    """The pairs of step `number`. Each epoch has its own order, which depends only on the seed."""
    places = [divmod(position, pairs) for position in range(number * size, (number + 1) * size)]
    orders = {epoch: np.random.default_rng([seed, epoch]).permutation(pairs) for epoch, _ in places}
    return [int(orders[epoch][place]) for epoch, place in places]
