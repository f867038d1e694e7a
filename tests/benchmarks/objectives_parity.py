"""Our objectives beside TRL's, on the same log-probabilities: `make bench-training OPTIONS="--only parity"`
runs this by the Python of an environment that has TRL beside what we need. Prints one JSON line: by objective
the greatest difference of the loss, and of its gradient with respect to the log-probability of any token, in
float32.

TRL has no function of log-probabilities for most of its losses: its trainers' own methods are called, with a
model that answers with our numbers.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from services.retrain.adapters.encoded import EncodedPair
from services.retrain.adapters.objectives.rows import Row, Scored
from services.retrain.adapters.objectives.table import OBJECTIVES
from services.retrain.domain.training import TrainingPlan

ROWS = 16
PLAN = TrainingPlan(beta=0.3, smoothing=0.1, desirable_weight=1.2, undesirable_weight=0.8)


def main() -> None:
    dpo = {"dpo": "sigmoid", "ipo": "ipo", "robust_dpo": "robust"}
    dpo |= {name: name for name in ("aot", "aot_unpaired")}
    losses: dict[str, Callable[[Batch], Tensor]] = {
        name: partial(of_dpo, loss_type=loss_type) for name, loss_type in dpo.items()
    }
    losses |= {"simpo": of_simpo, "kto": of_kto, "grpo": of_grpo}
    print(json.dumps({name: differences(name, theirs) for name, theirs in losses.items()}))


@dataclass(frozen=True, slots=True)
class Batch:
    """[answers], each [tokens], of every row: chosen, rejected and two strangers."""

    policy: tuple[list[Tensor], ...]
    reference: tuple[list[Tensor], ...]

    def rows(self) -> list[Row]:
        groups = zip(*map(_scored, self.policy, self.reference), strict=True)
        return [
            Row(EncodedPair((), (), ()), ((chosen, rejected), tuple(strangers)))
            for chosen, rejected, *strangers in groups
        ]


def _scored(policy: Sequence[Tensor], reference: Sequence[Tensor]) -> list[Scored]:
    return list(map(Scored, policy, reference))


def drawn(seed: int) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 60, (4, ROWS), generator=draw).tolist()
    policy = [[-2 * torch.rand(n, generator=draw) for n in some] for some in lengths]
    reference = [
        [one + 0.2 * torch.randn(len(one), generator=draw) for one in some] for some in policy
    ]
    # Strangers are a little likelier than they were, so that the divergence is above 0.
    for some in policy[2:]:
        some[:] = [one + 0.05 for one in some]
    for leaf in (one for some in policy for one in some):
        leaf.requires_grad_()
    return Batch(tuple(policy), tuple(reference))


def differences(name: str, theirs: Callable[[Batch], Tensor]) -> dict[str, float]:
    """The greatest over some batches. TRL's loss is of the whole batch, so ours is its rows' mean."""
    apart, apart_gradient = 0.0, 0.0
    for seed in range(5):
        batch = drawn(seed)
        ours = OBJECTIVES[name].loss(batch.rows(), PLAN).mean()
        leaves = [one for some in batch.policy[:2] for one in some]
        other = theirs(batch)
        gradients = (torch.autograd.grad(loss, leaves) for loss in (ours, other))
        apart = max(apart, abs(ours.item() - other.item()))
        found = max((a - b).abs().max().item() for a, b in zip(*gradients, strict=True))
        apart_gradient = max(apart_gradient, found)
    return {"loss": apart, "gradient": apart_gradient}


def of_dpo(batch: Batch, loss_type: str) -> Tensor:
    """DPOTrainer._compute_loss, with reference log-probabilities that were computed before."""
    trainer = import_module("trl.trainer.dpo_trainer").DPOTrainer
    fake = _trainer(
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        loss_types=[loss_type],
        loss_weights=[1.0],
        label_smoothing=PLAN.smoothing,
        use_weighting=False,
    )
    chosen, rejected = (_sums(some) for some in batch.reference[:2])
    inputs, model = _asked([*batch.policy[0], *batch.policy[1]])
    inputs |= {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    loss: Tensor = trainer._compute_loss(fake, model, inputs, False)
    return loss


def of_kto(batch: Batch) -> Tensor:
    """KTOTrainer._compute_loss, likewise."""
    trainer = import_module("trl.trainer.kto_trainer").KTOTrainer
    strangers, formerly = (_sums([*some[2], *some[3]]) for some in (batch.policy, batch.reference))
    fake = _trainer(
        loss_type="kto",
        calculate_KL=True,
        desirable_weight=PLAN.desirable_weight,
        undesirable_weight=PLAN.undesirable_weight,
        _compute_kl_logps=lambda *_: strangers,
    )
    inputs, model = _asked([*batch.policy[0], *batch.policy[1]])
    inputs |= {
        "label": torch.arange(2 * ROWS) < ROWS,
        "ref_logps": _sums([*batch.reference[0], *batch.reference[1]]),
        "ref_KL_logps": formerly,
    }
    loss: Tensor = trainer._compute_loss(fake, model, inputs, False)
    return loss


def of_simpo(batch: Batch) -> Tensor:
    """CPOTrainer.cpo_loss, which takes means per token for this loss."""
    trainer = import_module("trl.experimental.cpo.cpo_trainer").CPOTrainer
    fake = _trainer(
        alpha=0.0, loss_type="simpo", simpo_gamma=PLAN.target_margin, label_smoothing=0.0
    )
    chosen, rejected = (torch.stack([one.mean() for one in some]) for some in batch.policy[:2])
    loss: Tensor = trainer.cpo_loss(fake, chosen, rejected)[0].mean()
    return loss


def of_grpo(batch: Batch) -> Tensor:
    """GRPOTrainer._compute_loss, with the advantages of the better and the worse of two answers. The policy
    that answered is the reference."""
    trainer = import_module("trl.trainer.grpo_trainer").GRPOTrainer
    policy, reference = ([*some[0], *some[1]] for some in (batch.policy, batch.reference))
    asked, _ = _asked(policy)
    mask, padded = asked["completion_mask"][:, 1:], pad_sequence(policy, batch_first=True)
    fake = _trainer(
        loss_type="grpo",
        importance_sampling_level="token",
        epsilon_low=PLAN.clip_low,
        epsilon_high=PLAN.clip_high,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None),
        model=SimpleNamespace(training=False),
        _get_per_token_logps_and_entropies=lambda *_, **__: (
            padded,
            torch.zeros_like(padded),
            None,
        ),
    )
    formerly = pad_sequence(reference, batch_first=True)
    inputs = {
        "prompt_ids": mask[:, :1],
        "prompt_mask": mask[:, :1],
        "completion_ids": mask,
        "completion_mask": mask,
        "advantages": torch.cat([torch.ones(ROWS), -torch.ones(ROWS)]),
        "old_per_token_logps": formerly,
        "ref_per_token_logps": formerly,
    }
    fake.beta = PLAN.kl_weight
    loss: Tensor = trainer._compute_loss(fake, MagicMock(), inputs)
    return loss


def _trainer(**settings: object) -> Any:
    """What a trainer's method reads of its trainer; all else is nothing in particular."""
    same = {name: lambda some, **_: some for name in ("gather", "gather_for_metrics", "reduce")}
    accelerator = SimpleNamespace(device=torch.device("cpu"), **same)
    told: dict[str, Any] = {"beta": PLAN.beta, "precompute_ref_logps": True}
    told |= {"_metrics": defaultdict(lambda: defaultdict(list)), "_total_train_tokens": 0}
    told |= {"aux_loss_enabled": False}
    return MagicMock(accelerator=accelerator, _tp_size=1, **told, **settings)


def _asked(answers: Sequence[Tensor]) -> tuple[dict[str, Any], Any]:
    """The inputs of a padded batch, with one token of prompt before each answer, and a model that answers with
    these log-probabilities."""
    log_p = pad_sequence(list(answers), batch_first=True)
    mask = pad_sequence([torch.ones(len(one), dtype=torch.long) for one in answers], True)
    before = torch.zeros(len(answers), 1, dtype=torch.long)
    completion = torch.cat([before, mask], dim=1)
    ids = torch.ones_like(completion)
    nothing = torch.zeros_like(log_p)
    said = SimpleNamespace(
        log_probs=log_p, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
    )
    model = MagicMock(return_value=said, training=False)
    return {"input_ids": ids, "attention_mask": ids, "completion_mask": completion}, model


def _sums(answers: Sequence[Tensor]) -> Tensor:
    return torch.stack([one.sum() for one in answers])


if __name__ == "__main__":
    main()
