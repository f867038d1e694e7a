"""A tiny random Llama, pairs to train it on, and what a policy of it should say, the way a book writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from services.retrain.adapters.encoded import EncodedPair, Group
from services.retrain.adapters.policy import LoraPolicy, LoraShape
from services.retrain.adapters.training import Trainer
from services.retrain.domain.training import TrainingPlan, TrainingStep

PLAN = TrainingPlan(
    rank=4, alpha=8, layers=2, learning_rate=1e-2, batch_pairs=4, max_steps=12, stop_margin=99.0
)


def tiny() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).float().eval()


def policy() -> LoraPolicy:
    return LoraPolicy(tiny(), LoraShape(rank=4, alpha=8, layers=2), seed=1)


def pairs(count: int = 10) -> list[EncodedPair]:
    """Chosen answers are of low ids, rejected ones of high ids and longer."""
    draw = torch.Generator().manual_seed(3)

    def ids(low: int, high: int, length: int) -> tuple[int, ...]:
        return tuple(torch.randint(low, high, (length,), generator=draw).tolist())

    made = []
    for n in range(count):
        prompt = ids(0, 64, 5 + n % 3)
        answers = ids(0, 16, 6), ids(32, 64, 9 + n % 4)
        made.append(
            EncodedPair(
                prompt, *answers, judged=(*prompt, n), hinted=(*prompt, n), reward_margin=2.0
            )
        )
    return made


def trained(
    folder: Path,
    plan: TrainingPlan,
    given: Sequence[EncodedPair],
    praised: Sequence[Group] = (),
) -> tuple[LoraPolicy, list[TrainingStep]]:
    folder.mkdir(exist_ok=True)
    found = policy()
    return found, Trainer(found, given, plan, folder, praised=praised).run(lambda _: None)


def assert_same_weights(ours: LoraPolicy, theirs: LoraPolicy) -> None:
    """To the byte."""
    found = ours.state()
    for name, value in theirs.state().items():
        assert torch.equal(found[name], value), name


def as_if_killed(killed: Path, whole: Path) -> None:
    """A training that was planned to be short leaves what one would whose process died there."""
    checkpoint = torch.load(killed / "checkpoint.pt", weights_only=True)
    checkpoint["plan"] = torch.load(whole / "checkpoint.pt", weights_only=True)["plan"]
    torch.save(checkpoint, killed / "checkpoint.pt")


def moved(layers: int = 2) -> LoraPolicy:
    """A policy that is no longer the reference."""
    policy = LoraPolicy(tiny(), LoraShape(rank=4, alpha=8, layers=layers), seed=1)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    return policy


def merged(policy: LoraPolicy) -> tuple[Any, list[Tensor]]:
    """A plain model with the policy's weights, weight + scale * up @ down, and the leaves that these were made
    of, in the order of the policy's parameters."""
    model: Any = tiny()
    leaves = [p.detach().clone().requires_grad_() for p in policy.parameters]
    names = [name for name, p in policy.peft.named_parameters() if p.requires_grad]
    found = dict(zip(names, leaves, strict=True))
    for name in names:
        if ".lora_A." in name:
            path, _, _ = name.removeprefix("base_model.model.").partition(".lora_A.")
            up = found[name.replace(".lora_A.", ".lora_B.")]
            owner = model.get_submodule(path)
            whole = owner.weight.detach() + 2.0 * up @ found[name]
            del owner.weight
            owner.weight = whole
    return model, leaves


def naive(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
    """[tokens]: the log-probability of each of the answer's tokens, by the whole pass over a sequence."""
    ids = torch.tensor([[*prompt, *answer]])
    log_probabilities = model(input_ids=ids).logits[0].log_softmax(-1)
    places = range(len(prompt), len(prompt) + len(answer))
    return torch.stack([log_probabilities[t - 1, ids[0, t]] for t in places])
