"""How likely a policy's champions find the answers that are trained on: asked once, before training.

There is never a second model in memory: each champion's adapter is put on the base model, all answers are
read, and it is taken off again. Like the reference's, these log-probabilities are kept on disk
(references.py), by the digests of base model and adapter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from services.retrain.adapters.encoded import Group
from services.retrain.adapters.packed_model import PackedModel, shape_of
from services.retrain.adapters.ranks import ALONE, Ranks
from services.retrain.adapters.references import References
from shared.encoding.base_models import CONFIG, WEIGHTS

# Of each answer of a group, [tokens], fp32, in nats, on the processor.
Known = Mapping[Group, Sequence[Tensor]]


@dataclass(frozen=True, slots=True)
class PastPolicies:
    """The newest first. None: the base model, which is the reference."""

    known: tuple[Known | None, ...] = ()

    def of(self, group: Group, references: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], ...]:
        """Of each answer, its log-probabilities under each champion, where the references are. None of a group
        that they were not asked about: answers that are only kept are compared with the reference alone."""
        if any(one is not None and group not in one for one in self.known):
            return tuple(() for _ in references)
        found = [references if one is None else one[group] for one in self.known]
        return tuple(
            tuple(one[place].to(reference.device) for one in found)
            for place, reference in enumerate(references)
        )


NO_PAST = PastPolicies()


def past_policies(
    model: Any,
    history: Sequence[Mapping[str, str]],
    groups: Sequence[Group],
    kept: Callable[[str], References],
    ranks: Ranks = ALONE,
) -> PastPolicies:
    """`history`: as job.json has it. `kept`: by the adapter's digest."""

    def known(adapter: str) -> Known | None:
        if not adapter:
            return None
        folder = Path(adapter)
        return asked(model, folder, groups, kept(adapter_digest(folder)), ranks)

    return PastPolicies(tuple(known(one["adapter_path"]) for one in history))


def adapter_digest(folder: Path) -> str:
    """Of all that decides what the adapter does."""
    digest = hashlib.sha256()
    for name in (WEIGHTS, CONFIG):
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def asked(
    model: Any, adapter: Path, groups: Sequence[Group], kept: References, ranks: Ranks = ALONE
) -> Known:
    """Of several processes each reads a share of the groups. The model is afterwards as it was."""
    here = {group: kept.of(group) for group in groups} if ranks.leads else {}
    known: dict[Group, Sequence[Tensor]] = ranks.as_first(
        {group: found for group, found in here.items() if found is not None}
    )
    missing = [group for group in dict.fromkeys(groups) if group not in known]
    if not missing:
        return known
    peft = PeftModel.from_pretrained(model, str(adapter)).eval()
    packed = PackedModel(model)
    own = {n: _read(packed, missing[n]) for n in ranks.share_of(range(len(missing)))}
    peft.unload()
    for n, found in own.items():
        kept.keep(missing[n], found)
    return known | {missing[n]: found for n, found in ranks.merged(own).items()}


@torch.no_grad()
def _read(packed: PackedModel, group: Group) -> list[Tensor]:
    answers = packed.answers_of(group)
    found = packed.log_probabilities(packed.embedded(group), shape_of(group), answers, 0)
    return [one.cpu() for one in found]
