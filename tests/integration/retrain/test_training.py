"""The trainer on a tiny random Llama, in fp32: values by hand, not shapes."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import LlamaForCausalLM

from services.registry.adapters.adapter_folder import AdapterFolder
from services.retrain.adapters.encoded import EncodedPair, Group
from services.retrain.adapters.objectives.dpo import dpo
from services.retrain.adapters.objectives.rows import Row, Scored
from services.retrain.adapters.training import Trainer, batch_of
from services.retrain.domain.training import TrainingPlan
from tests.integration.retrain.tiny import PLAN, naive, pairs, policy, tiny


def group(pair: EncodedPair) -> Group:
    return Group(pair.prompt, (pair.chosen, pair.rejected))


def test_the_reference_is_the_policy_before_training():
    untrained = policy()
    for pair in pairs(4):
        prepared = untrained.prepare(group(pair))
        now = untrained.log_probabilities(prepared)
        for n, answer in enumerate((pair.chosen, pair.rejected)):
            torch.testing.assert_close(
                prepared.references[n], naive(tiny(), pair.prompt, answer), atol=1e-4, rtol=0
            )
            torch.testing.assert_close(now[n], prepared.references[n], atol=1e-4, rtol=0)


def test_kept_hidden_states_give_the_whole_pass_loss_and_gradient():
    trained = policy()
    with torch.no_grad():
        for parameter in trained.parameters:
            parameter.add_(
                0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            )
    pair = pairs(1)[0]
    kept = trained.prepare(group(pair))

    def loss(log_probabilities: list[torch.Tensor]) -> torch.Tensor:
        chosen, rejected = map(Scored, log_probabilities, kept.references)
        return dpo([Row(pair, ((chosen, rejected),))], beta=0.1)[0]

    quick = loss(trained.log_probabilities(kept))
    quick_gradients = torch.autograd.grad(quick, trained.parameters)
    answers = (pair.chosen, pair.rejected)
    whole = loss([naive(trained.peft, pair.prompt, answer) for answer in answers])
    whole_gradients = torch.autograd.grad(whole, trained.parameters)
    assert quick.item() == pytest.approx(whole.item(), abs=1e-4)
    assert quick.item() != pytest.approx(math.log(2), abs=1e-3)
    for ours, theirs in zip(quick_gradients, whole_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_the_margin_rises_and_the_first_loss_is_known(tmp_path: Path):
    trainer = Trainer(policy(), pairs(), PLAN, tmp_path)
    steps = trainer.run(lambda step: None)
    assert [step.step for step in steps] == list(range(1, 13))
    first, last = steps[0], steps[-1]
    assert first.loss == pytest.approx(math.log(2) + PLAN.nll_weight * first.nll, abs=1e-4)
    assert first.margin == pytest.approx(0.0, abs=1e-4)
    assert last.margin > 0.3
    assert last.loss < first.loss
    assert last.accuracy == 1.0
    assert last.chosen_change > 0


def test_training_stops_at_the_margin(tmp_path: Path):
    plan = TrainingPlan(**{**_plan(), "stop_margin": 0.2, "max_steps": 40})
    steps = Trainer(policy(), pairs(), plan, tmp_path).run(lambda step: None)
    assert len(steps) < 40
    assert sum(step.margin for step in steps[-3:]) / 3 >= 0.2
    assert sum(step.margin for step in steps[-4:-1]) / 3 < 0.2


def test_the_control_learns_the_chosen_answers(tmp_path: Path):
    plan = TrainingPlan(**{**_plan(), "objective": "sft"})
    steps = Trainer(policy(), pairs(), plan, tmp_path).run(lambda step: None)
    assert len(steps) == 12
    assert steps[0].loss == pytest.approx(steps[0].nll)
    assert steps[-1].nll < steps[0].nll - 0.1


@pytest.mark.parametrize("killed_after", [5, 7])
def test_a_resumed_training_ends_with_the_same_adapter(tmp_path: Path, killed_after: int):
    class Killed(BaseException):
        pass

    def kill(step: object) -> None:
        if getattr(step, "step", 0) == killed_after + 1:
            raise Killed

    whole_policy, resumed_policy = policy(), policy()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = Trainer(whole_policy, pairs(), PLAN, tmp_path / "a").run(lambda step: None)
    with pytest.raises(Killed):
        Trainer(policy(), pairs(), PLAN, tmp_path / "b").run(kill)
    seen: list[int] = []
    resumed = Trainer(resumed_policy, pairs(), PLAN, tmp_path / "b").run(
        lambda step: seen.append(step.step)
    )
    assert seen[0] == 6
    assert resumed == whole
    for name, value in whole_policy.state().items():
        torch.testing.assert_close(resumed_policy.state()[name], value, atol=0, rtol=0)


def test_a_checkpoint_of_another_plan_is_left_alone(tmp_path: Path):
    Trainer(policy(), pairs(), PLAN, tmp_path).run(lambda step: None)
    other = TrainingPlan(**{**_plan(), "beta": 0.2})
    steps = Trainer(policy(), pairs(), other, tmp_path).run(lambda step: None)
    assert steps[0].margin == pytest.approx(0.0, abs=1e-4)


def test_batches_cover_each_epoch_and_depend_on_the_seed_alone():
    epoch = [i for number in range(5) for i in batch_of(number, 10, 4, seed=0)]
    assert sorted(epoch[:10]) == list(range(10)) == sorted(epoch[10:20])
    assert epoch[:10] != epoch[10:20]
    assert batch_of(3, 10, 4, seed=0) == batch_of(3, 10, 4, seed=0)
    assert batch_of(0, 10, 4, seed=0) != batch_of(0, 10, 4, seed=1)


def test_the_saved_adapter_is_what_was_trained_and_what_the_registry_takes(tmp_path: Path):
    trained = policy()
    Trainer(trained, pairs(), PLAN, tmp_path).run(lambda step: None)
    base = tmp_path / "base"
    tiny().save_pretrained(base)
    trained.save(tmp_path / "adapter", str(base))
    shelf = AdapterFolder(tmp_path / "shelf", {"base": base})
    assert len(shelf.inspect(str(tmp_path / "adapter"), "base")) == 64
    loaded = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), tmp_path / "adapter")
    pair = pairs(1)[0]
    expected = trained.log_probabilities(trained.prepare(group(pair)))[0]
    found = naive(loaded.eval(), pair.prompt, pair.chosen)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def _plan() -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(PLAN)
