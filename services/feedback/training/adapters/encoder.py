"""The lower layers of MiniLM, fine-tuned end to end on `answer [SEP] follow-up`.

Each text is pooled by itself (mean over its tokens), so that the head sees which is which;
the head is linear, its loss the cross entropy against raters' shares. Word embeddings stay as they
are: what was not in the labelled lines keeps its place beside what was. One pass over the lines
where they are many, a few where they are few. Seeded; threads change sums in the last digits.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.feedback.mining.app.features import Conversation, Floats
from services.feedback.training.adapters import bert
from shared.encoding.precision import has_bfloat16

Ids = list[int]

_CLS, _SEP = 101, 102
_OTHER, _ANSWER, _FOLLOW_UP, _PADDING = 0, 1, 2, 3
_POOLED = (_ANSWER, _FOLLOW_UP)
# Of a longer text the first and the last tokens count.
_MAX_TOKENS, _LAST_TOKENS = 40, 10
_TRAIN_BATCH, _SCORE_BATCH, _LENGTH_STEP = 32, 32, 2
_ENOUGH_LINES, _MOST_EPOCHS = 3_000, 8
_WARM_UP, _WEIGHT_DECAY, _CLIP, _DROPOUT = 0.1, 0.01, 1.0, 0.1
# The rate by the steps: how far all of them together may lead away from the published weights. Farther,
# it judges what it was fitted on no better, and other conversations worse.
_FAR, _MOST_RATE = 0.03, 3e-4
_TELL_S = 15.0
# Batches of lines alike in length, drawn from so many batches of shuffled lines.
_BUCKET = 50


@dataclass(frozen=True, slots=True)
class EncoderLearner:
    """`path` is a BERT with its tokenizer.json, as `make setup` puts it."""

    path: Path
    layers: int = 3
    head_rate: float = 1e-3
    # Now and then, how far it is.
    tell: Callable[[str], None] = lambda _: None

    @property
    def name(self) -> str:
        return f"encoder ({self.layers} layers)"

    def fit(self, conversations: Sequence[Conversation], shares: Floats, seed: int) -> EncoderModel:
        torch.manual_seed(seed)
        network = Network(bert.pretrained(self.path, self.layers), shares.shape[1])
        prior = np.clip(shares.mean(0), 1e-3, 1.0)
        network.head.bias.data = torch.tensor(np.log(prior), dtype=torch.float32)
        inputs = encode(open_tokenizer(self.path), conversations)
        batches = self._batches(inputs, np.random.default_rng(seed))
        self._train(network, inputs, torch.tensor(shares, dtype=torch.float32), batches)
        return EncoderModel(self.path, network.eval())

    def _batches(
        self, inputs: Sequence[tuple[Ids, Ids]], random: np.random.Generator
    ) -> list[list[int]]:
        epochs = min(max(math.ceil(_ENOUGH_LINES / len(inputs)), 1), _MOST_EPOCHS)
        found = []
        for _ in range(epochs):
            order = random.permutation(len(inputs)).tolist()
            batches = []
            for start in range(0, len(order), _TRAIN_BATCH * _BUCKET):
                bucket = order[start : start + _TRAIN_BATCH * _BUCKET]
                bucket.sort(key=lambda one: len(inputs[one][0]))
                batches += [
                    bucket[place : place + _TRAIN_BATCH]
                    for place in range(0, len(bucket), _TRAIN_BATCH)
                ]
            found += [batches[one] for one in random.permutation(len(batches))]
        return found

    def _train(
        self,
        network: Network,
        inputs: Sequence[tuple[Ids, Ids]],
        shares: Tensor,
        batches: list[list[int]],
    ) -> None:
        learning = [one for one in network.body.parameters() if one.requires_grad]
        optimizer = torch.optim.AdamW(
            [
                {"params": learning, "lr": _rate(len(batches))},
                {"params": network.head.parameters(), "lr": self.head_rate},
            ],
            weight_decay=_WEIGHT_DECAY,
            fused=True,
        )
        steps = len(batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / (_WARM_UP * steps), 1 - step / steps)
        )
        network.train()
        told = started = time.monotonic()
        for step, batch in enumerate(batches):
            if (now := time.monotonic()) > told + _TELL_S:
                told, left = now, (now - started) / step * (steps - step)
                self.tell(f"{self.name}: {step} of {steps} batches, about {left:.0f} s left")
            with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
                logits = network(*_tensors([inputs[one] for one in batch]))
            loss = torch.nn.functional.cross_entropy(logits.float(), shares[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
            optimizer.step()
            schedule.step()


def _rate(steps: int) -> float:
    return min(_FAR / steps, _MOST_RATE)


class EncoderModel:
    """Owns the fine-tuned network. `path` is where its tokenizer lies.

    Batches are judged by `workers` threads side by side, each a batch: threads that share one
    batch wait for each other at every product, long where others use the processor, too.
    """

    def __init__(self, path: Path, network: Network, workers: int = 1) -> None:
        self._path, self._network = path, network
        self._tokenizer = open_tokenizer(path)
        # Its threads stay: each plans its products by itself, once for each length.
        self._pool = ThreadPoolExecutor(workers)
        if has_bfloat16():
            network.body.to(torch.bfloat16)

    def logits(self, conversations: Sequence[Conversation]) -> Floats:
        inputs = encode(self._tokenizer, conversations)
        # The longest first, so that no worker ends long after the others.
        order = sorted(range(len(inputs)), key=lambda one: -len(inputs[one][0]))
        batches = [
            order[start : start + _SCORE_BATCH] for start in range(0, len(order), _SCORE_BATCH)
        ]
        rows = np.zeros((len(inputs), self._network.head.out_features))
        judged = self._pool.map(lambda batch: self._judge([inputs[one] for one in batch]), batches)
        for batch, found in zip(batches, judged, strict=True):
            rows[batch] = found
        return rows

    def _judge(self, inputs: Sequence[tuple[Ids, Ids]]) -> Floats:
        with torch.inference_mode():  # holds for one thread
            return np.asarray(self._network(*_tensors(inputs)).numpy(), dtype=np.float64)

    def save(self, folder: Path) -> None:
        (folder / "encoder").mkdir(exist_ok=True)
        bert.save(self._network.body, folder / "encoder" / "body.safetensors")
        shutil.copyfile(self._path / "tokenizer.json", folder / "encoder" / "tokenizer.json")
        head = self._network.head
        np.savez(
            folder / "encoder_head.npz",
            weights=head.weight.detach().numpy(),
            bias=head.bias.detach().numpy(),
        )

    @classmethod
    def load(cls, folder: Path, workers: int = 1) -> EncoderModel:
        with np.load(folder / "encoder_head.npz", allow_pickle=False) as kept:
            weights, bias = torch.tensor(kept["weights"]), torch.tensor(kept["bias"])
        network = Network(bert.load(folder / "encoder" / "body.safetensors"), len(bias)).eval()
        network.head.weight.data, network.head.bias.data = weights, bias
        return cls(folder / "encoder", network, workers)


class Network(torch.nn.Module):
    """`body`, and a linear head over the means of each part's states; the head begins with zeros."""

    def __init__(self, body: bert.Bert, labels: int) -> None:
        super().__init__()
        self.body = body
        self.dropout = torch.nn.Dropout(_DROPOUT)
        self.head = torch.nn.Linear(len(_POOLED) * body.size.width, labels)
        torch.nn.init.zeros_(self.head.weight)

    def forward(self, ids: Tensor, segments: Tensor) -> Tensor:
        states = self.body(ids, segments != _PADDING).float()
        inside = (segments.unsqueeze(1) == torch.tensor(_POOLED).view(1, -1, 1)).float()
        pooled = inside @ states / inside.sum(2, keepdim=True).clamp(min=1.0)
        logits: Tensor = self.head(self.dropout(pooled.flatten(1)))
        return logits


def open_tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # What people write is text, even where it spells "[SEP]".
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode(tokenizer: Any, conversations: Sequence[Conversation]) -> list[tuple[Ids, Ids]]:
    """(token ids, the part that each token belongs to) of each."""

    columns = (
        (_ANSWER, [one.answer for one in conversations]),
        (_FOLLOW_UP, [one.follow_up for one in conversations]),
    )
    found: list[tuple[Ids, Ids]] = [([_CLS], [_OTHER]) for _ in conversations]
    for part, texts in columns:
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for (ids, parts), encoding in zip(found, encodings, strict=True):
            own = _shortened(encoding.ids)
            ids += [*own, _SEP]
            parts += [*[part] * len(own), _OTHER]
    return found


def _shortened(ids: Ids) -> Ids:
    if len(ids) <= _MAX_TOKENS:
        return ids
    return ids[: _MAX_TOKENS - _LAST_TOKENS] + ids[-_LAST_TOKENS:]


def _tensors(inputs: Sequence[tuple[Ids, Ids]]) -> tuple[Tensor, Tensor]:
    """ids and segments, each [batch, longest]. Few different lengths: a product of a new shape has to be
    planned first."""
    longest = -(-max(len(ids) for ids, _ in inputs) // _LENGTH_STEP) * _LENGTH_STEP
    ids = np.zeros((len(inputs), longest), dtype=np.int64)
    parts = np.full((len(inputs), longest), _PADDING, dtype=np.int64)
    for row, (tokens, segments) in enumerate(inputs):
        ids[row, : len(tokens)] = tokens
        parts[row, : len(segments)] = segments
    return torch.from_numpy(ids), torch.from_numpy(parts)
