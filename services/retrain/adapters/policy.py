"""A Llama-like policy with LoRA on its last layers, which keeps the work of the frozen layers. The lower
layers never change, so their output for a sequence is computed once: the hidden states
at the input of the first trained layer are kept, together with the reference's log-probabilities,
which come out of the same pass with LoRA switched off. A training step then runs only the upper layers,
and the head only where an answer's token is predicted.

Sequences run one at a time, unpadded: on a CPU a batch of unequal lengths wastes its time on padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from services.retrain.adapters.encoded import Group
from shared.encoding.precision import dtype_name

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is kept of a group; the three have one item for each of its answers, in their order. `hidden`:
    [1, prompt and answer tokens, width] before the first trained layer; `answers`: the ids to be predicted,
    [tokens]; `references`: their log-probabilities under the untrained policy, [tokens], fp32, in nats."""

    hidden: tuple[Tensor, ...]
    answers: tuple[Tensor, ...]
    references: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class LoraShape:
    """`layers`: how many of the last layers are trained."""

    rank: int = 16
    alpha: int = 32
    layers: int = 10


class LoraPolicy:
    """Owns the model. Not thread-safe. `model` has `.model.layers`, `.model.rotary_emb`,
    `.model.norm` and `.lm_head`, as Llama, Mistral and Qwen have them."""

    def __init__(self, model: Any, shape: LoraShape, seed: int = 0) -> None:
        torch.manual_seed(seed)
        total = int(model.config.num_hidden_layers)
        self.first = max(total - shape.layers, 0)
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=shape.rank,
            lora_alpha=shape.alpha,
            lora_dropout=0.0,
            target_modules=list(PROJECTIONS),
            layers_to_transform=list(range(self.first, total)),
        )
        self.device: torch.device = next(model.parameters()).device
        # PEFT keeps the LoRA weights in fp32 beside a bf16 model: in bf16 steps of 3e-4 would be lost.
        self.peft = get_peft_model(model, config)
        self.peft.eval()
        self._model = model

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return [p for p in self.peft.parameters() if p.requires_grad]

    @torch.no_grad()
    def prepare(self, group: Group) -> Prepared:
        """The pass made once per group: keeps the frozen layers' output and measures the reference."""
        hidden, answers = list[Tensor](), list[Tensor]()
        for answer in group.answers:
            ids = torch.tensor([(*group.prompt, *answer)], device=self.device)
            embedded = self._model.model.embed_tokens(ids)
            hidden.append(self._through(embedded, 0, self.first))
            answers.append(torch.tensor(answer, device=self.device))
        with self.peft.disable_adapter():
            references = tuple(map(self._log_probabilities, hidden, answers))
        return Prepared(tuple(hidden), tuple(answers), references)

    def log_probabilities(self, prepared: Prepared) -> list[Tensor]:
        """Of each answer, the log-probability of each of its tokens under the policy as it is now: [tokens],
        fp32, in nats, differentiable."""
        return list(map(self._log_probabilities, prepared.hidden, prepared.answers))

    def state(self) -> dict[str, Tensor]:
        named = self.peft.named_parameters()
        return {name: p.detach().clone() for name, p in named if p.requires_grad}

    def load_state(self, state: dict[str, Tensor]) -> None:
        own = dict(self.peft.named_parameters())
        with torch.no_grad():
            for name, value in state.items():
                own[name].copy_(value)

    def save(self, folder: Path, base_model: str) -> None:
        """As PEFT saves it, in safetensors; `base_model` is exactly the path the replicas were started
        with."""
        self.peft.peft_config["default"].base_model_name_or_path = base_model
        self.peft.save_pretrained(str(folder))

    def _log_probabilities(self, hidden: Tensor, answer: Tensor) -> Tensor:
        hidden = self._through(hidden, self.first, len(self._model.model.layers))
        # Position t predicts token t + 1: the last prompt token predicts the answer's first.
        predicting = hidden[0, -len(answer) - 1 : -1]
        logits = self._model.lm_head(self._model.model.norm(predicting)).float()
        chosen = logits.gather(1, answer[:, None])[:, 0]
        found: Tensor = chosen - torch.logsumexp(logits, dim=1)
        return found

    def _through(self, hidden: Tensor, start: int, end: int) -> Tensor:
        """Without a mask: a lone unpadded sequence needs none but the causal one."""
        positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
        rotary = self._model.model.rotary_emb(hidden, positions)
        for layer in self._model.model.layers[start:end]:
            hidden = layer(
                hidden,
                attention_mask=None,
                position_ids=positions,
                position_embeddings=rotary,
            )
        return hidden


def device_here() -> torch.device:
    """A GPU where there is one, of several the first that this process may use, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_model(path: Path, device: torch.device | None = None) -> Any:
    """`device`: `device_here()`, if none is given."""
    device = device or device_here()
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(path),
        dtype=_dtype(device),
        attn_implementation="sdpa",
        local_files_only=True,
    )
    return model.to(device)


def _dtype(device: torch.device) -> torch.dtype:
    """GPUs before Ampere compute bfloat16 only by emulation."""
    if device.type == "cuda":
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if is_native else torch.float32
    found: torch.dtype = getattr(torch, dtype_name())
    return found
