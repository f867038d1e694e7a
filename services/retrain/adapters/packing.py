"""A prompt and several answers as one row of tokens, without padding: [prompt, answer 1, answer 2, ...].

An answer's tokens see the prompt and what precedes them in the answer, and have the positions that they
would have if the answer stood there alone, so every token gets what a sequence of its own would give it. An
answer's last token predicts nothing that is trained on and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "packed"
# Queries that are compared with their keys at once. Of a block of a causal square, half is computed in vain.
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Shape:
    """The tokens of a prompt, at least one, and of each of its answers, at least one."""

    prompt: int
    answers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Queries `start` to `end` of a row see the keys of all `seen` ranges. The last of these ends with the
    queries; of it, each sees what precedes it, and itself."""

    start: int
    end: int
    seen: tuple[tuple[int, int], ...]

    def mask(self, device: torch.device) -> Tensor:
        """[queries, keys], to be added: 0 or -inf."""
        count, keys = self.end - self.start, sum(end - start for start, end in self.seen)
        ahead = torch.full((count, keys), -torch.inf, device=device)
        return ahead.triu(keys - count + 1)


class Packing:
    """Where what stands in a row of this shape."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        self._shape, self._device = shape, device

    @cached_property
    def positions(self) -> Tensor:
        """[1, tokens]: of each token in its prompt and answer."""
        prompt = self._shape.prompt
        answers = [torch.arange(prompt, prompt + end - first) for first, end in self._answers()]
        return torch.cat([torch.arange(prompt), *answers])[None].to(self._device)

    @cached_property
    def predicting(self) -> Tensor:
        """[answer tokens]: where in the row each token of each answer is predicted. The last token of the
        prompt predicts the first one of all its answers."""
        last = torch.tensor([self._shape.prompt - 1])
        places = [(last, torch.arange(first, end)) for first, end in self._answers()]
        return torch.cat([part for pair in places for part in pair]).to(self._device)

    @cached_property
    def blocks(self) -> list[tuple[Block, Tensor]]:
        """Each with its mask."""
        return [(block, block.mask(self._device)) for block in self._blocks()]

    def _blocks(self) -> Iterator[Block]:
        prompt = self._shape.prompt
        for first, last in _pieces(0, prompt):
            yield Block(first, last, ((0, last),))
        for begins, ends in self._answers():
            for first, last in _pieces(begins, ends):
                yield Block(first, last, ((0, prompt), (begins, last)))

    def _answers(self) -> Iterator[tuple[int, int]]:
        begins = self._shape.prompt
        for count in self._shape.answers:
            yield begins, begins + count - 1
            begins += count - 1


def _pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    for first in range(start, end, _BLOCK):
        yield first, min(first + _BLOCK, end)


def register() -> None:
    """Makes ATTENTION known to transformers; repeated, it changes nothing."""
    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packing: Packing | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it: [1, heads, tokens, size] -> [1, tokens, heads, size]. Without a packing, as in
    generating, it is torch's own."""
    if packing is None:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **more
        )
        return found
    attend = _by_products if query.device.type == "cpu" else _by_kernel
    pieces = []
    for block, mask in packing.blocks:
        keys, values = (
            torch.cat([one[0, :, start:end] for start, end in block.seen], dim=1)
            for one in (key, value)
        )
        queries = query[0, :, block.start : block.end]
        pieces.append(attend(queries, keys, values, mask, float(more["scaling"])))
    return torch.cat(pieces, dim=1).transpose(0, 1)[None], None


def _by_products(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float
) -> Tensor:
    """[heads, queries, size]. On a processor two matrix products per head of keys take less time than torch's
    kernel with a mask: 0.8 of it for 100 + 2 x 60 tokens, 0.93 for 430 + 2 x 150, 0.94 for 640 + 2 x 320
    (forward and backward, one thread, float32). It is computed in float32 whatever the model's precision:
    scores rounded to bfloat16 leave five times the error of the kernel's, which sums in float32, too."""
    heads, count, size = queries.shape
    shared = heads // keys.shape[0]
    folded = queries.float().reshape(-1, shared * count, size)
    seen = keys.float().transpose(1, 2)
    scores = torch.baddbmm(mask.repeat(shared, 1), folded, seen, alpha=scale)
    found = torch.bmm(scores.softmax(-1), values.float()).view(heads, count, size)
    return found.to(queries.dtype)


def _by_kernel(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """The same, by torch's kernel: nothing of the size queries x keys is kept for the backward pass."""
    shared = queries.shape[0] // keys.shape[0]
    found = scaled_dot_product_attention(
        queries[None],
        keys.repeat_interleave(shared, 0)[None],
        values.repeat_interleave(shared, 0)[None],
        attn_mask=mask.to(queries.dtype),
        scale=scale,
    )
    return found[0]
