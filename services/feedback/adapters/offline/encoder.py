"""The lower layers of MiniLM, fine-tuned end to end on `request [SEP] answer [SEP] follow-up`.

Each text is pooled by itself (mean over its tokens), so that the head sees which is which;
the head is linear, its loss the cross entropy against raters' shares. Word embeddings stay as they
are: what was not in the labelled lines keeps its place beside what was. One pass over the lines
where they are many, a few where they are few. Seeded; threads change sums in the last digits.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.feedback.adapters.minilm import multiplies_bfloat16
from services.feedback.app.offline.features import Conversation, Floats

Ids = list[int]

_CLS, _SEP = 101, 102
_OTHER, _REQUEST, _ANSWER, _FOLLOW_UP = 0, 1, 2, 3
_POOLED = (_REQUEST, _ANSWER, _FOLLOW_UP)
# Of a longer text the first and the last tokens count.
_MAX_TOKENS, _MAX_REQUEST_TOKENS = 40, 24
_LAST_TOKENS = 10
_TRAIN_BATCH, _SCORE_BATCH = 32, 64
_ENOUGH_LINES, _MOST_EPOCHS = 3_000, 8
_WARM_UP, _WEIGHT_DECAY, _CLIP, _DROPOUT = 0.1, 0.01, 1.0, 0.1
# Batches of lines alike in length, drawn from so many batches of shuffled lines.
_BUCKET = 50


@dataclass(frozen=True, slots=True)
class EncoderLearner:
    """`path` is a BERT with its tokenizer.json, as `make setup` puts it."""

    path: Path
    layers: int = 3
    rate: float = 5e-5
    head_rate: float = 1e-3

    @property
    def name(self) -> str:
        return f"encoder ({self.layers} layers)"

    def fit(self, conversations: Sequence[Conversation], shares: Floats, seed: int) -> EncoderModel:
        import torch

        torch.manual_seed(seed)
        network = load_network(self.path, self.layers, shares.shape[1])
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
        self, network: Any, inputs: Sequence[tuple[Ids, Ids]], shares: Any, batches: list[list[int]]
    ) -> None:
        import torch

        learning = [one for one in network.body.parameters() if one.requires_grad]
        optimizer = torch.optim.AdamW(
            [
                {"params": learning, "lr": self.rate},
                {"params": network.head.parameters(), "lr": self.head_rate},
            ],
            weight_decay=_WEIGHT_DECAY,
        )
        steps = len(batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / (_WARM_UP * steps), 1 - step / steps)
        )
        network.train()
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bfloat16()):
                logits = network(*_tensors([inputs[one] for one in batch]))
            loss = torch.nn.functional.cross_entropy(logits.float(), shares[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
            optimizer.step()
            schedule.step()


class EncoderModel:
    """Owns the fine-tuned network. `path` is where its tokenizer lies."""

    def __init__(self, path: Path, network: Any) -> None:
        import torch

        self._path, self._network = path, network
        self._tokenizer = open_tokenizer(path)
        if multiplies_bfloat16():
            network.body.to(torch.bfloat16)

    def logits(self, conversations: Sequence[Conversation]) -> Floats:
        import torch

        inputs = encode(self._tokenizer, conversations)
        order = sorted(range(len(inputs)), key=lambda one: len(inputs[one][0]))
        rows = np.zeros((len(inputs), self._network.head.out_features))
        with torch.inference_mode():
            for start in range(0, len(order), _SCORE_BATCH):
                batch = order[start : start + _SCORE_BATCH]
                rows[batch] = self._network(*_tensors([inputs[one] for one in batch])).numpy()
        return rows

    def save(self, folder: Path) -> None:
        import torch

        self._network.body.to(torch.bfloat16).save_pretrained(folder / "encoder")
        shutil.copyfile(self._path / "tokenizer.json", folder / "encoder" / "tokenizer.json")
        head = self._network.head
        np.savez(
            folder / "encoder_head.npz",
            weights=head.weight.detach().numpy(),
            bias=head.bias.detach().numpy(),
        )

    @classmethod
    def load(cls, folder: Path) -> EncoderModel:
        import torch

        with np.load(folder / "encoder_head.npz", allow_pickle=False) as kept:
            weights, bias = torch.tensor(kept["weights"]), torch.tensor(kept["bias"])
        network = load_network(folder / "encoder", None, len(bias)).eval()
        network.head.weight.data, network.head.bias.data = weights, bias
        return cls(folder / "encoder", network)


def load_network(path: Path, layers: int | None, labels: int) -> Any:
    """`body`, a BERT in float32 whose word embeddings are frozen, and `head`, all zeros.

    `layers` None: as many as there are.
    """
    import torch
    from transformers import AutoConfig, AutoModel
    from transformers import logging as transformers_logging

    quiet: Any = transformers_logging
    quiet.set_verbosity_error()  # it would list the upper layers as not used
    quiet.disable_progress_bar()

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = AutoConfig.from_pretrained(str(path))
            config.num_hidden_layers = layers or config.num_hidden_layers
            self.body: Any = AutoModel.from_pretrained(
                str(path), config=config, add_pooling_layer=False, dtype=torch.float32
            )
            self.body.embeddings.word_embeddings.weight.requires_grad_(False)
            self.dropout = torch.nn.Dropout(_DROPOUT)
            self.head = torch.nn.Linear(len(_POOLED) * config.hidden_size, labels)
            torch.nn.init.zeros_(self.head.weight)

        def forward(self, ids: Any, mask: Any, segments: Any) -> Any:
            states = self.body(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            pooled = []
            for segment in _POOLED:
                inside = (segments == segment).unsqueeze(-1).float()
                pooled.append((states * inside).sum(1) / inside.sum(1).clamp(min=1.0))
            return self.head(self.dropout(torch.cat(pooled, dim=1)))

    return Network()


def open_tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def encode(tokenizer: Any, conversations: Sequence[Conversation]) -> list[tuple[Ids, Ids]]:
    """(token ids, the part that each token belongs to) of each."""

    columns = (
        (_REQUEST, [one.request for one in conversations], _MAX_REQUEST_TOKENS),
        (_ANSWER, [one.answer for one in conversations], _MAX_TOKENS),
        (_FOLLOW_UP, [one.follow_up for one in conversations], _MAX_TOKENS),
    )
    found: list[tuple[Ids, Ids]] = [([_CLS], [_OTHER]) for _ in conversations]
    for part, texts, most in columns:
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for (ids, parts), encoding in zip(found, encodings, strict=True):
            own = _shortened(encoding.ids, most)
            ids += [*own, _SEP]
            parts += [*[part] * len(own), _OTHER]
    return found


def _shortened(ids: Ids, most: int) -> Ids:
    return ids if len(ids) <= most else ids[: most - _LAST_TOKENS] + ids[-_LAST_TOKENS:]


def _tensors(inputs: Sequence[tuple[Ids, Ids]]) -> tuple[Any, Any, Any]:
    """ids, mask and segments, each [batch, longest]."""
    import torch

    longest = max(len(ids) for ids, _ in inputs)
    shape = (len(inputs), longest)
    ids, mask, parts = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    rows: NDArray[np.int64]
    for row, (tokens, segments) in enumerate(inputs):
        for rows, values in ((ids, tokens), (parts, segments)):
            rows[row, : len(values)] = values
        mask[row, : len(tokens)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(parts)
