"""What the trainer records of a version, on a tiny random Llama in fp32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from services.retrain.adapters.policy import LoraPolicy
from services.retrain.adapters.recording import MOST_TOKENS, recorded
from services.retrain.adapters.training import Trainer
from shared.language.known_answers import Serves
from tests.integration.retrain.tiny import PLAN, naive, pairs, policy, tiny

PROMPTS = [(1, 2, 3), (40, 5)]


@pytest.fixture
def made(tmp_path: Path) -> LoraPolicy:
    found = policy()
    Trainer(found, pairs(), PLAN, tmp_path).run(lambda _: None)
    return found


def test_it_records_greedy_answers_and_what_both_models_give_them(made: LoraPolicy) -> None:
    known = recorded(made, PROMPTS)
    assert [one.prompt for one in known.answers] == PROMPTS
    for one in known.answers:
        assert len(one.answer) == MOST_TOKENS
        with torch.no_grad():
            ours, base = (naive(model, one.prompt, one.answer) for model in (made.peft, tiny()))
        assert one.log_probs == pytest.approx(ours.tolist(), abs=1e-3)
        assert one.of_base == pytest.approx(base.tolist(), abs=1e-3)
        first = torch.tensor([one.prompt])
        with torch.no_grad():
            likeliest = int(made.peft(input_ids=first).logits[0, -1].argmax())
        assert one.answer[0] == likeliest
    assert known.apart > 0.2
    assert (
        known.compared([one.log_probs for one in known.answers], 0.05).serves == Serves.AS_TRAINED
    )
    assert known.compared([one.of_base for one in known.answers], 0.05).serves == Serves.BASE_MODEL


def test_an_answer_stops_at_its_end(made: LoraPolicy) -> None:
    (whole,) = recorded(made, PROMPTS[:1]).answers
    end = whole.answer[3]
    (cut,) = recorded(made, PROMPTS[:1], end).answers
    assert cut.answer == whole.answer[: whole.answer.index(end) + 1]


def test_a_strength_scales_what_the_adapter_adds(made: LoraPolicy, tmp_path: Path) -> None:
    before = made.state()
    told = torch.tensor([PROMPTS[0]])
    with made.scaled(0.5):
        made.save(tmp_path / "half", "base")
        half = recorded(made, PROMPTS)
        with torch.no_grad():
            said = made.peft(input_ids=told).logits
    saved = load_file(tmp_path / "half" / "adapter_model.safetensors")
    ups = [name for name in saved if ".lora_B." in name]
    assert len(ups) == 14  # seven projections of two layers
    for name, value in saved.items():
        was = before[name.replace(".weight", ".default.weight")]
        assert torch.equal(value, was * (0.5 if name in ups else 1.0))
    # A plain model with half of each product added to its weights says the same.
    plain: Any = tiny()
    for name in ups:
        path = name.removeprefix("base_model.model.").removesuffix(".lora_B.weight")
        up, down = before[name.replace(".weight", ".default.weight")], name.replace("_B.", "_A.")
        with torch.no_grad():
            plain.get_submodule(path).weight += 0.5 * 2.0 * up @ saved[down]
    with torch.no_grad():
        assert torch.allclose(plain(input_ids=told).logits, said, atol=1e-4)
    # It acts as before again, and what was recorded is told apart from it.
    assert all(torch.equal(value, before[name]) for name, value in made.state().items())
    assert half != recorded(made, PROMPTS)
