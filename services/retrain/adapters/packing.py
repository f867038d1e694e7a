"""A prompt and several answers as one row of tokens, without padding: [prompt, answer 1, answer 2, ...].

An answer's tokens see the prompt and what precedes them in the answer, and have the positions that they
would have if the answer stood there alone, so every token gets what a sequence of its own would give it. An
answer's last token predicts nothing that is trained on and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

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
