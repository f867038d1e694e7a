"""What the trainer records of a version, on a tiny random Llama in fp32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

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
