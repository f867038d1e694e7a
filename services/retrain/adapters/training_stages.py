"""A training of several stages: the same adapter goes through one after the other, such as SFT and then DPO
(LIONs, Yu et al. 2024, arXiv 2407.06542). Each has an objective, an optimizer and a reference of its own: the
policy that the stage before left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from services.retrain.adapters.encoded import EncodedPair, Group
from services.retrain.adapters.policy import LoraPolicy
from services.retrain.adapters.ranks import ALONE, Ranks
from services.retrain.adapters.references import References
from services.retrain.adapters.training import Trainer
from services.retrain.domain.training import TrainingPlan, TrainingStep

# Of a stage, from 1.
Report = Callable[[int, TrainingStep], None]


def train_in_stages(
    policy: LoraPolicy,
    pairs: Sequence[EncodedPair],
    plan: TrainingPlan,
    folder: Path,
    kept: Callable[[str], References],
    report: Report,
    ranks: Ranks = ALONE,
    praised: Sequence[Group] = (),
) -> list[TrainingStep]:
    """Every step of all stages. Each resumes from its checkpoint, the last one's in `folder`, the others' in
    folders of their own there. `kept`: where what an adapter of a digest says is kept. Raises as Trainer
    does."""
    steps: list[TrainingStep] = []
    for number, stage in enumerate(plan.stages, start=1):
        if number > 1:
            policy.begin_stage(kept)
        place = folder if number == len(plan.stages) else folder / f"stage-{number}"
        if ranks.leads:
            place.mkdir(exist_ok=True)
        trainer = Trainer(policy, pairs, stage, place, ranks, praised)
        trainer.run(partial(report, number))
        if ranks.leads and number < len(plan.stages):
            trainer.save()
        made = trainer.settle()
        steps += [replace(one, step=len(steps) + one.step, stage=number) for one in made]
    return steps
