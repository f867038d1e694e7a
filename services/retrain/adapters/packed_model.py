"""A Llama-like model that reads a prompt together with its answers, in one unpadded row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from services.retrain.adapters.answer_head import token_log_probabilities
from services.retrain.adapters.encoded import Group
from services.retrain.adapters.packed_attention import ATTENTION, register
from services.retrain.adapters.packing import Packing, Shape


class PackedModel:
    """`model` has `.model.layers`, `.model.rotary_emb`, `.model.norm` and `.lm_head`, as Llama, Mistral and
    Qwen have them. What PEFT puts into its layers counts as long as it is there."""

    def __init__(self, model: Any) -> None:
        register()
        model.set_attn_implementation(ATTENTION)
        self._model = model
        self.device: torch.device = next(model.parameters()).device

    @property
    def layers(self) -> int:
        return len(self._model.model.layers)

    def embedded(self, group: Group) -> Tensor:
        """[1, tokens, width]: what goes into the first layer."""
        ids = [*group.prompt, *(token for answer in group.answers for token in answer[:-1])]
        found: Tensor = self._model.model.embed_tokens(torch.tensor([ids], device=self.device))
        return found

    def through(self, hidden: Tensor, shape: Shape, start: int, end: int) -> Tensor:
        """Layers `start` to `end`."""
        return self._through(hidden, Packing(shape, self.device), start, end)

    def log_probabilities(
        self, hidden: Tensor, shape: Shape, answers: Sequence[Tensor], start: int
    ) -> list[Tensor]:
        """Of each answer, the log-probability of each of its tokens: [tokens], fp32, in nats. `hidden`: what
        goes into layer `start`."""
        packing = Packing(shape, self.device)
        hidden = self._through(hidden, packing, start, self.layers)
        predicting = self._model.model.norm(hidden[0, packing.predicting])
        ids = torch.cat(list(answers))
        found = token_log_probabilities(predicting, self._model.lm_head.weight, ids)
        return list(torch.split(found, list(shape.answers)))

    def _through(self, hidden: Tensor, packing: Packing, start: int, end: int) -> Tensor:
        positions = packing.positions
        rotary = self._model.model.rotary_emb(hidden, positions)
        for layer in self._model.model.layers[start:end]:
            hidden = layer(
                hidden,
                attention_mask=None,
                position_ids=positions,
                position_embeddings=rotary,
                packing=packing,
            )
        return hidden

    def answers_of(self, group: Group) -> tuple[Tensor, ...]:
        """The ids to be predicted, [tokens] each."""
        return tuple(torch.tensor(answer, device=self.device) for answer in group.answers)


def shape_of(group: Group) -> Shape:
    return Shape(len(group.prompt), tuple(map(len, group.answers)))
