"""The training loop. Reads from top to bottom and resumes from its checkpoint.

DPO (objectives/dpo.py) plus a share of NLL on the chosen answer, or NLL alone for the control.
Departures from RLHI's set-up, which trains all weights of an 8B model on GPUs:
1. LoRA on the last layers only; the frozen layers' hidden states are computed once (policy.py).
2. The persona is in the prompt of only a seeded share of the pairs: serving adds personas to prompts only
where that is switched on, so the policy must also learn to do without.
3. A constant learning rate, and a stop when the mean margin of the last three steps is reached: on a small
model everything depends on how far it is pushed, and a fixed number of epochs is fragile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.retrain.adapters.objectives.dpo import dpo, sigmoid_accuracy
from services.retrain.adapters.objectives.sft import nll
from services.retrain.adapters.policy import Encoded, LoraPolicy, Prepared
from services.retrain.adapters.ranks import ALONE, Ranks
from services.retrain.domain.training import TrainingPlan, TrainingStep

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class EncodedPair:
    chosen: Encoded
    rejected: Encoded


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
    ) -> None:
        self._policy, self._pairs, self._plan, self._folder = policy, pairs, plan, folder
        self._ranks = ranks
        self._prepared: dict[tuple[int, bool], Prepared] = {}
        self._optimizer = torch.optim.AdamW(
            policy.parameters, lr=plan.learning_rate, weight_decay=0.0
        )
        self.steps: list[TrainingStep] = []

    def run(self, report: Report) -> list[TrainingStep]:
        """Trains until the margin is reached or the steps are used up. Returns every step so far."""
        self._resume()
        while not self._is_done():
            step = self._step(len(self.steps))
            self.steps.append(step)
            report(step)
            if self._ranks.leads and len(self.steps) % self._plan.checkpoint_every == 0:
                self._save()
        return self.steps

    def _is_done(self) -> bool:
        if len(self.steps) >= self._plan.max_steps:
            return True
        if self._plan.objective == "sft" or len(self.steps) < 3:
            return False
        return sum(step.margin for step in self.steps[-3:]) / 3 >= self._plan.stop_margin

    def _step(self, number: int) -> TrainingStep:
        batch = batch_of(number, len(self._pairs), self._plan.batch_pairs, self._plan.seed)
        self._optimizer.zero_grad()
        totals = np.zeros(5)
        for index in self._ranks.share_of(batch):
            loss, figures = self._dpo(index) if self._plan.objective == "dpo" else self._sft(index)
            (loss / len(batch)).backward()  # type: ignore[no-untyped-call]
            totals += np.array([loss.item(), *figures])
        totals = self._ranks.add_up(self._policy.parameters, totals)
        norm = torch.nn.utils.clip_grad_norm_(self._policy.parameters, self._plan.clip_norm)
        self._optimizer.step()
        mean = totals / len(batch)
        return TrainingStep(
            step=number + 1,
            loss=float(mean[0]),
            margin=float(mean[1]),
            accuracy=float(mean[2]),
            nll=float(mean[3]),
            chosen_change=float(mean[4]),
            gradient_norm=float(norm),
        )

    def _dpo(self, index: int) -> tuple[torch.Tensor, tuple[float, float, float, float]]:
        """(loss, (margin, accuracy, nll, change of the chosen's log-probability))."""
        chosen, rejected = self._kept(index, True), self._kept(index, False)
        log_chosen = self._policy.log_probability(chosen)
        loss, margin = dpo(
            log_chosen,
            self._policy.log_probability(rejected),
            torch.tensor(chosen.reference, device=log_chosen.device),
            torch.tensor(rejected.reference, device=log_chosen.device),
            self._plan.beta,
        )
        anchor = nll(log_chosen, torch.tensor(len(chosen.answer)))
        change = log_chosen.item() - chosen.reference
        figures = (margin.item(), sigmoid_accuracy(margin), anchor.item(), change)
        return loss + self._plan.nll_weight * anchor, figures

    def _sft(self, index: int) -> tuple[torch.Tensor, tuple[float, float, float, float]]:
        chosen = self._kept(index, True)
        log_chosen = self._policy.log_probability(chosen)
        loss = nll(log_chosen, torch.tensor(len(chosen.answer)))
        return loss, (0.0, 0.0, loss.item(), log_chosen.item() - chosen.reference)

    def _kept(self, index: int, is_chosen: bool) -> Prepared:
        key = (index, is_chosen)
        if key not in self._prepared:
            pair = self._pairs[index]
            self._prepared[key] = self._policy.prepare(pair.chosen if is_chosen else pair.rejected)
        return self._prepared[key]

    def _save(self) -> None:
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


def batch_of(number: int, pairs: int, size: int, seed: int) -> list[int]:
    """The pairs of step `number`. Each epoch has its own order, which depends only on the seed."""
    places = [divmod(position, pairs) for position in range(number * size, (number + 1) * size)]
    orders = {epoch: np.random.default_rng([seed, epoch]).permutation(pairs) for epoch, _ in places}
    return [int(orders[epoch][place]) for epoch, place in places]
