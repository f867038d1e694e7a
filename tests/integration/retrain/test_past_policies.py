"""What a policy's champions say of the answers: asked once, on the one model there is, and kept."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from services.retrain.adapters import past_policies as module
from services.retrain.adapters.objectives.table import OBJECTIVES
from services.retrain.adapters.past_policies import PastPolicies, adapter_digest, past_policies
from services.retrain.adapters.policy import LoraPolicy, LoraShape
from services.retrain.adapters.references import NoReferences, References, StoredReferences
from services.retrain.adapters.training import Trainer
from services.retrain.domain.training import TrainingStep
from tests.integration.retrain.tiny import PLAN, merged, moved, naive, pairs, tiny

GIVEN = pairs(4)
GROUPS = [one for n in range(4) for one in OBJECTIVES["mnpo"].groups_at(GIVEN, n)]
MNPO = replace(PLAN, objective="mnpo", nll_weight=0.0, max_steps=3)
# Three trainings, which wait for a processor where others compute.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def champion(tmp_path: Path) -> Path:
    """It changed every layer of the model, more than are trained here."""
    moved(layers=4).save(tmp_path / "champion", "base")
    return tmp_path / "champion"


def nothing_kept(adapter: str) -> References:
    return NoReferences()


def history(*adapters: Path | None) -> list[dict[str, str]]:
    return [
        {"version": f"assistant-v{n}", "adapter_path": str(one or "")}
        for n, one in enumerate(adapters)
    ]


def test_they_are_those_of_the_whole_model_and_leave_no_trace_in_it(champion: Path):
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    past = past_policies(model, history(champion, None), GROUPS, nothing_kept)
    whole, _ = merged(moved(layers=4))
    for pair, group in zip(GIVEN, GROUPS, strict=True):
        references = [torch.zeros(len(answer)) for answer in group.answers]
        found = past.of(group, references)
        for answer, reference, told in zip(group.answers, references, found, strict=True):
            assert len(told) == 2
            torch.testing.assert_close(told[0], naive(whole, pair.prompt, answer))
            assert told[1] is reference
    assert before.keys() == model.state_dict().keys()
    assert all((before[name] == one).all() for name, one in model.state_dict().items())
    fresh, after = (LoraPolicy(one, LoraShape(4, 8, 2), 1) for one in (tiny(), model))
    assert fresh.state().keys() == after.state().keys()


def test_they_are_kept_by_the_adapters_digest_and_not_asked_for_again(
    champion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def kept(adapter: str) -> References:
        return StoredReferences(tmp_path / "references", f"tiny {adapter}")

    first = past_policies(tiny(), history(champion), GROUPS, kept)
    assert len(list((tmp_path / "references").iterdir())) == 8
    monkeypatch.setattr(module, "_read", None)
    again = past_policies(tiny(), history(champion), GROUPS, kept)
    for group in GROUPS:
        references = [torch.zeros(len(answer)) for answer in group.answers]
        for one, other in zip(
            first.of(group, references), again.of(group, references), strict=True
        ):
            assert (one[0] == other[0]).all()
    # Another adapter is another policy.
    digest = adapter_digest(champion)
    (champion / "adapter_config.json").write_text("{}")
    assert adapter_digest(champion) != digest


def trained(folder: Path, past: PastPolicies, model: torch.nn.Module) -> list[TrainingStep]:
    folder.mkdir()
    policy = LoraPolicy(model, LoraShape(rank=4, alpha=8, layers=2), 1, past=past)
    return Trainer(policy, GIVEN, MNPO, folder).run(lambda _: None)


def test_a_training_is_held_to_its_champions(champion: Path, tmp_path: Path):
    model = tiny()
    past = past_policies(model, history(champion, None), GROUPS, nothing_kept)
    steps = trained(tmp_path / "held", past, model)
    whole, _ = merged(moved(layers=4))
    expected = []
    for pair in GIVEN:
        reference, newest = (
            sum((naive(one, pair.prompt, pair.chosen)).tolist())
            - sum((naive(one, pair.prompt, pair.rejected)).tolist())
            for one in (tiny(), whole)
        )
        # The policy is the reference still; of the champions one is the reference, too.
        expected.append((2 / 3 * (reference - (newest + reference) / 2) - 2) ** 2)
    assert steps[0].loss == pytest.approx(sum(expected) / 4, rel=1e-4)
    assert steps[-1].loss < steps[0].loss
    alone = trained(tmp_path / "alone", PastPolicies((None,)), tiny())
    assert alone[0].loss == pytest.approx(4.0, rel=1e-4)
    assert trained(tmp_path / "none", PastPolicies(), tiny()) == alone
