"""Feature blocks that need a network: the encoder's embedding and the policy's hidden states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.reward.domain import Answer
from services.reward.ports import Encoder
from shared.encoding.chat import ChatTokens, load_tokenizer
from shared.encoding.precision import dtype_name
from shared.language.messages import text_message

Array = NDArray[np.float64]
_REQUEST_TOKENS, _ANSWER_TOKENS = 64, 192
_BATCH_TOKENS = 1024


class EncodedAnswer:
    """The answer's sentence embedding."""

    name = "encoder"
    weight = 1.0

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def features(self, answers: Sequence[Answer]) -> Array:
        return self._encoder.embed([one.text for one in answers]).astype(np.float64)


class HiddenStates:
    """The policy's hidden states after `LAYER` layers, averaged over the answer's tokens.

    The policy reads the end of the request and the answer as its chat template has them; nothing of
    it is trained, and the layers above are not computed. A middle layer says more of an answer than
    the last one, which is about the next token (22 of 30 was the best of seven tried for the
    default policy; others take the same share of their depth). Loads on first use.
    """

    name = "policy"
    weight = 1.0
    DEPTH = 22 / 30

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loaded: tuple[ChatTokens, Any] | None = None

    def features(self, answers: Sequence[Answer]) -> Array:
        tokens, model = self._loaded = self._loaded or self._load()
        sequences = [answer_tokens(tokens, one) for one in answers]
        found: dict[int, Array] = {}
        for batch in batches([len(ids) for ids, _ in sequences]):
            rows = _mean_states(model, [sequences[at] for at in batch])
            found.update(zip(batch, rows, strict=True))
        return np.array([found[at] for at in range(len(answers))])

    def _load(self) -> tuple[ChatTokens, Any]:
        model = load_policy(self._path)
        model.layers = model.layers[: depth(len(model.layers))]
        return ChatTokens(load_tokenizer(self._path)), model


def depth(layers: int) -> int:
    """How many of the policy's layers are computed."""
    return max(1, round(layers * HiddenStates.DEPTH))


def load_policy(path: Path) -> Any:
    """The policy's layers, without the norm after the last one."""
    import torch
    from transformers import AutoModel

    dtype = getattr(torch, dtype_name())
    model = AutoModel.from_pretrained(path, local_files_only=True, dtype=dtype).eval()
    model.norm = torch.nn.Identity()
    return model


def answer_tokens(tokens: ChatTokens, answer: Answer) -> tuple[list[int], int]:
    """The token ids of the whole sequence, and where the answer starts."""
    # A marker shows what the template puts around the request and before the answer.
    asked = tokens.rendered((text_message("system", ""), text_message("user", "\x00")))
    start, end = map(tokens.ids, asked.split("\x00"))
    before = start + tokens.said(answer.request)[-_REQUEST_TOKENS:] + end
    said = tokens.said(answer.text, by_policy=True)[:_ANSWER_TOKENS] or tokens.ids(" ")
    return before + said, len(before)


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of sequences of similar length, about _BATCH_TOKENS at a time."""
    order = sorted(range(len(lengths)), key=lambda at: lengths[at])
    while order:
        size = max(1, _BATCH_TOKENS // lengths[order[0]])
        yield order[:size]
        order = order[size:]


def _mean_states(model: Any, sequences: Sequence[tuple[list[int], int]]) -> list[Array]:
    import torch

    longest = max(len(ids) for ids, _ in sequences)
    tokens = torch.zeros((len(sequences), longest), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, (ids, _) in enumerate(sequences):
        tokens[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = 1
    with torch.inference_mode():
        states = model(
            input_ids=tokens, attention_mask=mask, use_cache=False
        ).last_hidden_state.float()
    return [
        states[row, start : len(ids)].mean(dim=0).double().numpy()
        for row, (ids, start) in enumerate(sequences)
    ]
