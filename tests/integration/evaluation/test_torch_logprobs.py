"""Log-probabilities of the real policy, with and without an adapter."""

import os
from pathlib import Path

import pytest

from services.evaluation.adapters.subprocess_logprobs import SubprocessLogprobs
from services.evaluation.adapters.torch_logprobs import TorchLogprobs
from shared.language.errors import Internal, NotFound
from shared.language.messages import Message, ToolCall, ToolResult, text_message

MODEL = Path(os.environ.get("TRIMTAB_BASE_MODEL", ".trimtab/parts/models/smollm2-135m-instruct"))
pytestmark = pytest.mark.skipif(not MODEL.exists(), reason="the policy's parts are not there")
PROMPT = (text_message("user", "What is the capital of France?"),)
CASES = [
    (PROMPT, "The capital of France is Paris."),
    (PROMPT, "Umbrella seven green the of."),
    ((text_message("user", "Hello!"),), "Hello! How can I help you today?"),
]


@pytest.mark.timeout(400)
def test_sense_is_likelier_than_nonsense_and_an_adapter_changes_it(tmp_path: Path) -> None:
    adapter = str(_adapter(tmp_path))
    scorer = SubprocessLogprobs(MODEL)
    base, adapted, again = scorer.logprobs(["", adapter, ""], CASES)
    assert base[0][0] > base[1][0] + 10
    assert abs(adapted[0][0] - base[0][0]) > 0.5
    assert again == base
    (alone,) = TorchLogprobs(MODEL, batch=1).logprobs([""], CASES)
    assert [n for _, n in alone] == [n for _, n in base]
    # Padding beside a longer case changes rounding only.
    assert [value for value, _ in alone] == pytest.approx([value for value, _ in base], rel=0.05)
    with pytest.raises(NotFound, match="no adapter"):
        scorer.logprobs([str(tmp_path / "nowhere")], CASES)


@pytest.mark.timeout(400)
def test_what_tools_say_is_read() -> None:
    question = text_message("user", "Where does Ada live now?")
    call = Message("assistant", (ToolCall("c1", "address", '{"of": "Ada"}'),))
    cases = [
        (
            (question, call, Message("tool", (ToolResult("c1", said),))),
            "Ada lives in Reykjavik now.",
        )
        for said in ("Ada lives in Reykjavik now.", "")
    ]
    ((knows, guesses),) = SubprocessLogprobs(MODEL).logprobs([""], cases)
    assert knows[0] > guesses[0] + 5


def test_a_child_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(Internal, match="nowhere"):
        SubprocessLogprobs(tmp_path / "nowhere").logprobs([""], CASES)


def _adapter(folder: Path) -> Path:
    """A LoRA adapter with weights that do something."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(str(MODEL), local_files_only=True)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    model.save_pretrained(str(folder / "adapter"))
    return folder / "adapter"
