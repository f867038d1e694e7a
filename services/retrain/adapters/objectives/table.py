"""The objectives by name: what each needs of a pair, and its loss. domain/objectives.py says what they are
for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from services.retrain.adapters.encoded import EncodedPair, Group
from services.retrain.adapters.objectives.aot import aot, aot_unpaired
from services.retrain.adapters.objectives.clha import clha, is_apart
from services.retrain.adapters.objectives.cut import cut, marks
from services.retrain.adapters.objectives.dpo import dpo
from services.retrain.adapters.objectives.figa import edit_share, figa
from services.retrain.adapters.objectives.grao import grao
from services.retrain.adapters.objectives.grpo import grpo
from services.retrain.adapters.objectives.hindsight import hindsight, hinted
from services.retrain.adapters.objectives.ipo import ipo
from services.retrain.adapters.objectives.kto import kto
from services.retrain.adapters.objectives.maxmin import maxmin
from services.retrain.adapters.objectives.mnpo import mnpo
from services.retrain.adapters.objectives.ppo_max import ppo_max
from services.retrain.adapters.objectives.robust_dpo import robust_dpo
from services.retrain.adapters.objectives.rows import Loss, Row
from services.retrain.adapters.objectives.sft import nll
from services.retrain.adapters.objectives.simpo import simpo
from services.retrain.domain.training import TrainingPlan

# (how much of a row the objective marks, of how much): see TrainingStep.
Marked = Callable[[Row, TrainingPlan], tuple[float, float]]


def _nothing(row: Row, plan: TrainingPlan) -> tuple[float, float]:
    return 0.0, 0.0


def _counted(marked: Tensor) -> tuple[float, float]:
    return float(marked.sum()), float(len(marked))


@dataclass(frozen=True, slots=True)
class Objective:
    """All need the reference: the margin of the implicit reward, at which training stops, is measured for each
    that takes both answers. `is_whole_batch`: the loss of a row depends on the other rows of its step.
    `by_groups`: groups of people are told apart. `by_preference`: the adapter has a part for each of them
    (panacea.py). `is_anchored`: `nll_weight` times the NLL of the chosen answer is added to its loss."""

    loss: Loss
    takes_rejected: bool = True
    takes_judgment: bool = False
    takes_hint: bool = False
    takes_strangers: bool = False
    takes_samples: bool = False
    # critic.py
    takes_critic: bool = False
    is_whole_batch: bool = False
    by_groups: bool = False
    by_preference: bool = False
    is_anchored: bool = True
    # Of what it could mark (by the untrained policy), at least this share, or there is nothing to learn from.
    least_marked: float = 0.0
    marked: Marked = _nothing

    def groups(self, pair: EncodedPair, following: EncodedPair) -> tuple[Group, ...]:
        """The first has the chosen answer, and the rejected one and the samples if the objective takes them. A
        second one has the rejected answer after the prompt with the judgment or the hint, or the answers of the
        `following` pair after this pair's prompt."""
        others: tuple[tuple[int, ...], ...] = (pair.rejected,) if self.takes_rejected else ()
        if self.takes_samples:
            others += tuple(one.answer for one in pair.samples)
        groups: tuple[Group, ...] = (Group(pair.prompt, (pair.chosen, *others)),)
        if self.takes_judgment and pair.judged:
            groups += (Group(pair.judged, (pair.rejected,)),)
        if self.takes_hint and pair.hinted:
            groups += (Group(pair.hinted, (pair.rejected,), is_fixed=True),)
        if self.takes_strangers:
            groups += (Group(pair.prompt, (following.chosen, following.rejected)),)
        return groups

    def groups_at(self, pairs: Sequence[EncodedPair], place: int) -> tuple[Group, ...]:
        """Of the pair there, as a training asks for them: the last pair is followed by the first."""
        return self.groups(pairs[place], pairs[(place + 1) % len(pairs)])


OBJECTIVES: Mapping[str, Objective] = {
    "dpo": Objective(lambda rows, plan: dpo(rows, plan.beta)),
    "sft": Objective(lambda rows, _: nll(rows), takes_rejected=False, is_anchored=False),
    "cpo": Objective(lambda rows, plan: dpo(rows, plan.beta)),
    "ipo": Objective(lambda rows, plan: ipo(rows, plan.beta)),
    "robust_dpo": Objective(lambda rows, plan: robust_dpo(rows, plan.beta, plan.smoothing)),
    "simpo": Objective(lambda rows, plan: simpo(rows, plan.beta, plan.target_margin)),
    "kto": Objective(
        lambda rows, plan: kto(rows, plan.beta, plan.desirable_weight, plan.undesirable_weight),
        takes_strangers=True,
        is_whole_batch=True,
    ),
    "aot": Objective(lambda rows, plan: aot(rows, plan.beta, plan.smoothing), is_whole_batch=True),
    "aot_unpaired": Objective(
        lambda rows, plan: aot_unpaired(rows, plan.beta, plan.smoothing), is_whole_batch=True
    ),
    "clha": Objective(
        lambda rows, plan: clha(rows, plan.reward_gap, plan.hinge_margin, plan.sft_weight),
        is_anchored=False,
        marked=lambda row, plan: (is_apart(row, plan.reward_gap), 1.0),
    ),
    "cut": Objective(
        lambda rows, plan: cut(rows, plan.judgment_ratio, plan.judgment_weight),
        takes_judgment=True,
        is_anchored=False,
        least_marked=0.02,
        marked=lambda row, plan: _counted(marks(row, plan.judgment_ratio)),
    ),
    "figa": Objective(
        lambda rows, plan: figa(rows, plan.removed_weight, plan.removed_below),
        is_anchored=False,
        marked=lambda row, _: (edit_share(row.pair), 1.0),
    ),
    "hindsight": Objective(
        lambda rows, plan: hindsight(rows, plan.hint_clip),
        takes_hint=True,
        is_anchored=False,
        least_marked=0.02,
        marked=lambda row, _: _counted(hinted(row)),
    ),
    "grao": Objective(
        lambda rows, plan: grao(rows, plan.imitation_weight, plan.alignment_weight),
        takes_samples=True,
        is_anchored=False,
    ),
    "grpo": Objective(
        lambda rows, plan: grpo(rows, plan.clip_low, plan.clip_high, plan.kl_weight),
        takes_samples=True,
        is_anchored=False,
    ),
    "ppo_max": Objective(
        lambda rows, plan: ppo_max(
            rows, plan.clip_low, plan.clip_high, plan.kl_charge, plan.gae_lambda
        ),
        takes_samples=True,
        takes_critic=True,
    ),
    "maxmin": Objective(
        lambda rows, plan: maxmin(rows, plan.beta, plan.group_sharpness),
        is_whole_batch=True,
        by_groups=True,
    ),
    "panacea": Objective(
        lambda rows, plan: dpo(rows, plan.beta), by_groups=True, by_preference=True
    ),
    "mnpo": Objective(
        lambda rows, plan: mnpo(rows, plan.reference_weight, plan.newest_weight, plan.eta)
    ),
}
