"""BERT's lower layers (Devlin et al., arXiv 1810.04805) in torch alone, to fine-tune and to score.

What a library for all models does beside the sums costs more here than the sums: its import takes
a second, and three layers of 384 numbers a millisecond. Departures: no attention dropout, all
tokens are of segment 0, no pooler; query, key and value are one product.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_DROPOUT = 0.1


@dataclass(frozen=True, slots=True)
class Size:
    words: int
    places: int
    width: int
    inner: int
    heads: int
    layers: int
    epsilon: float


class Layer(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.ask = nn.Linear(size.width, 3 * size.width)
        self.told = nn.Linear(size.width, size.width)
        self.told_norm = nn.LayerNorm(size.width, eps=size.epsilon)
        self.wide = nn.Linear(size.width, size.inner)
        self.narrow = nn.Linear(size.inner, size.width)
        self.norm = nn.LayerNorm(size.width, eps=size.epsilon)
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        lines, length, width = states.shape
        parts = self.ask(states).view(lines, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if self._plain(states):
            told = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask[:, None, None, :]
            )
        else:
            told = _attend(query, key, value, mask)
        told = self.told(told.transpose(1, 2).reshape(lines, length, width))
        states = self.told_norm(states + self.dropout(told))
        inner = self.narrow(functional.gelu(self.wide(states)))
        found: Tensor = self.norm(states + self.dropout(inner))
        return found

    def _plain(self, states: Tensor) -> bool:
        return self.training or states.dtype is not torch.bfloat16


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Attention [lines, heads, length, part] of such, in half the time that torch's kernel takes for
    short lines in bfloat16.

    A column of ones beside the values adds up the weights in the same product; rows of zeros there
    are the mask. Of the scores, which stay far below 88, no maximum is taken off before exp.
    """
    lines, heads, length, part = query.shape
    inside = mask[:, None, :, None].to(value.dtype)
    value = torch.cat([value * inside, inside.expand(lines, heads, length, 1)], dim=-1)
    query = (query * part**-0.5).reshape(-1, length, part)
    weights = torch.bmm(query, key.reshape(-1, length, part).transpose(1, 2)).exp_()
    summed = torch.bmm(weights, value.view(-1, length, part + 1))
    summed = summed.view(lines, heads, length, part + 1)
    return summed[..., :part] / summed[..., part:]


class Bert(nn.Module):
    """Word embeddings are frozen."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.words = nn.Embedding(size.words, size.width)
        self.words.weight.requires_grad_(False)
        self.places = nn.Embedding(size.places, size.width)
        self.norm = nn.LayerNorm(size.width, eps=size.epsilon)
        self.dropout = nn.Dropout(_DROPOUT)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States [lines, length, width] of ids [lines, length]; `mask` is true where a token is."""
        states: Tensor = self.words(ids) + self.places.weight[: ids.shape[1]]
        states = self.dropout(self.norm(states))
        for layer in self.layers:
            states = layer(states, mask)
        return states


def pretrained(path: Path, layers: int | None = None) -> Bert:
    """The lower `layers`, or all, of a BERT as its makers publish it: config.json, model.safetensors."""
    from safetensors.torch import load_file

    config = json.loads((path / "config.json").read_text())
    layers = config["num_hidden_layers"] if layers is None else layers
    size = Size(
        config["vocab_size"],
        config["max_position_embeddings"],
        config["hidden_size"],
        config["intermediate_size"],
        config["num_attention_heads"],
        layers,
        config["layer_norm_eps"],
    )
    body = Bert(size)
    body.load_state_dict(_renamed(load_file(path / "model.safetensors"), layers))
    return body


def _renamed(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    theirs = {name.removeprefix("bert."): tensor.float() for name, tensor in theirs.items()}
    places = theirs["embeddings.position_embeddings.weight"]
    ours = {
        "words.weight": theirs["embeddings.word_embeddings.weight"],
        "places.weight": places + theirs["embeddings.token_type_embeddings.weight"][0],
    }
    names = {"norm": "embeddings.LayerNorm"}
    for number in range(layers):
        here, there = f"layers.{number}", f"encoder.layer.{number}"
        names[f"{here}.told"] = f"{there}.attention.output.dense"
        names[f"{here}.told_norm"] = f"{there}.attention.output.LayerNorm"
        names[f"{here}.wide"] = f"{there}.intermediate.dense"
        names[f"{here}.narrow"] = f"{there}.output.dense"
        names[f"{here}.norm"] = f"{there}.output.LayerNorm"
        for kind in ("weight", "bias"):
            parts = [
                theirs[f"{there}.attention.self.{one}.{kind}"] for one in ("query", "key", "value")
            ]
            ours[f"{here}.ask.{kind}"] = torch.cat(parts)
    for mine, their in names.items():
        for kind in ("weight", "bias"):
            ours[f"{mine}.{kind}"] = theirs[f"{their}.{kind}"]
    return ours


def save(body: Bert, path: Path) -> None:
    """Weights in bfloat16, and the sizes, in one safetensors file."""
    from safetensors.torch import save_file

    tensors = {name: one.to(torch.bfloat16) for name, one in body.state_dict().items()}
    save_file(tensors, path, metadata={"size": json.dumps(asdict(body.size))})


def load(path: Path) -> Bert:
    """In float32."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as kept:
        body = Bert(Size(**json.loads(kept.metadata()["size"])))
        tensors: dict[str, Any] = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118
    body.load_state_dict(tensors)
    return body
