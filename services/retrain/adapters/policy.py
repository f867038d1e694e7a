"""A Llama-like policy with LoRA on its last layers. What is computed once, and what is not computed at all:

1. The lower layers are frozen, so their output is kept: the hidden states at the input of the first trained
layer. A step runs only the upper layers, and nothing goes backwards below them.
2. A group's prompt stands in one row with all its answers (packing.py) and is computed once for all.
3. The reference's log-probabilities come out of one pass with LoRA switched off, and are kept (references.py).
4. The head runs where an answer's token is predicted, chunk by chunk (answer_head.py).
5. LoRA is added in place (lora_linear.py); attention is two matrix products on a processor
(packed_attention.py).

A row is one group, unpadded: on a processor a batch of unequal lengths spends its time on padding, and its
tensors do not fit into the caches. README.md says what each of these saves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from services.retrain.adapters.encoded import Group
from services.retrain.adapters.lora_linear import LoraLinear
from services.retrain.adapters.packed_model import PackedModel, shape_of
from services.retrain.adapters.packing import Shape
from services.retrain.adapters.past_policies import NO_PAST, PastPolicies
from services.retrain.adapters.prepared import Prepared
from services.retrain.adapters.references import NoReferences, References
from shared.encoding.precision import dtype_name

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class LoraShape:
    """`layers`: how many of the last layers are trained."""

    rank: int = 16
    alpha: int = 32
    layers: int = 10


class LoraPolicy:
    """Owns the model, which is as PackedModel needs it. Not thread-safe."""

    def __init__(
        self,
        model: Any,
        shape: LoraShape,
        seed: int = 0,
        references: References = NoReferences(),  # noqa: B008 - it holds nothing
        past: PastPolicies = NO_PAST,
    ) -> None:
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
        config._register_custom_module({nn.Linear: LoraLinear})
        self._packed = PackedModel(model)
        self.device = self._packed.device
        # PEFT keeps the LoRA weights in fp32 beside a bf16 model: in bf16 steps of 3e-4 would be lost.
        self.peft = get_peft_model(model, config)
        self.peft.eval()
        self._references, self._past = references, past
        # What the adapter was when its stage began; None in the first one: nothing.
        self._begun: dict[str, Tensor] | None = None

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return [p for p in self.peft.parameters() if p.requires_grad]

    @torch.no_grad()
    def prepare(self, group: Group) -> Prepared:
        """The pass made once per group: keeps the frozen layers' output and measures the reference."""
        shape, answers = shape_of(group), self._packed.answers_of(group)
        hidden = self._packed.through(self._packed.embedded(group), shape, 0, self.first)
        references = self._reference(group, shape, hidden, answers)
        histories = self._past.of(group, references)
        return Prepared(shape, hidden, answers, references, histories, group.is_fixed)

    def log_probabilities(self, prepared: Prepared) -> list[Tensor]:
        """Of each answer, the log-probability of each of its tokens under the policy as it is now: [tokens],
        fp32, in nats, differentiable."""
        return self._packed.log_probabilities(
            prepared.hidden, prepared.shape, prepared.answers, self.first
        )

    def begin_stage(self, references: Callable[[str], References]) -> None:
        """What is prepared from now on has the policy as it is now for its reference. `references`: where what
        an adapter of that digest says is kept."""
        self._begun = self.state()
        self._references = references(_digest(self._begun))

    @contextmanager
    def _as_begun(self) -> Iterator[None]:
        if self._begun is None:
            with self.peft.disable_adapter():
                yield
            return
        now = self.state()
        self.load_state(self._begun)
        try:
            yield
        finally:
            self.load_state(now)

    def state(self) -> dict[str, Tensor]:
        named = self.peft.named_parameters()
        return {name: p.detach().clone() for name, p in named if p.requires_grad}

    def load_state(self, state: dict[str, Tensor]) -> None:
        own = dict(self.peft.named_parameters())
        with torch.no_grad():
            for name, value in state.items():
                own[name].copy_(value)

    @contextmanager
    def scaled(self, strength: float) -> Iterator[None]:
        """Within, the adapter acts with `strength` (domain/strengths.py), also where it is saved."""
        ups = [p for name, p in self.peft.named_parameters() if ".lora_B." in name]
        trained = [one.detach().clone() for one in ups]
        try:
            with torch.no_grad():
                for one in ups:
                    one.mul_(strength)
            yield
        finally:
            with torch.no_grad():
                for one, was in zip(ups, trained, strict=True):
                    one.copy_(was)

    @contextmanager
    def preferring(self, weights: Sequence[float]) -> Iterator[None]:
        """Within, the last rows of the adapter's first matrices act with these weights, one each: what it
        learns there, it learns of the others and of these (objectives/panacea.py)."""
        if not weights:
            yield
            return
        downs = [p for name, p in self.peft.named_parameters() if ".lora_A." in name]
        kept = [one.detach().clone() for one in downs]
        self._weigh(downs, weights)
        try:
            yield
        finally:
            gradients = [one.grad for one in downs if one.grad is not None]
            self._weigh(gradients, weights)  # by the chain rule
            with torch.no_grad():
                for one, was in zip(downs, kept, strict=True):
                    one.copy_(was)

    def settle(self, weights: Sequence[float]) -> None:
        """The adapter is from now on as it acts with these weights."""
        self._weigh([p for name, p in self.peft.named_parameters() if ".lora_A." in name], weights)

    @torch.no_grad()
    def _weigh(self, matrices: Sequence[Tensor], weights: Sequence[float]) -> None:
        for one in matrices:
            column = torch.tensor(weights, dtype=one.dtype, device=one.device)[:, None]
            one[-len(weights) :].mul_(column)

    def save(self, folder: Path, base_model: str) -> None:
        """As PEFT saves it, in safetensors; `base_model` is exactly the path the replicas were started
        with."""
        self.peft.peft_config["default"].base_model_name_or_path = base_model
        self.peft.save_pretrained(str(folder))

    def _reference(
        self, group: Group, shape: Shape, hidden: Tensor, answers: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        known = self._references.of(group)
        if known is not None:
            return tuple(one.to(self.device) for one in known)
        with self._as_begun():
            found = self._packed.log_probabilities(hidden, shape, answers, self.first)
        self._references.keep(group, found)
        return tuple(found)


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


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
