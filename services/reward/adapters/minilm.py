"""MiniLM sentence embeddings by transformers: mean pool over tokens, unit length."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_TOKENS = 128


class MiniLmEncoder:
    """Loads on first use (seconds). One thread: beside a busy serving engine that is the quickest;
    0 leaves the number as the process has it.

    Safe to call from several threads: calls take turns batch by batch, so that a training does not
    hold up a call.
    """

    def __init__(self, path: Path, batch: int = 32, threads: int = 1) -> None:
        self._path, self._batch, self._threads = path, batch, threads
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float64]:
        found: dict[int, NDArray[np.float64]] = {}
        # Alike in length together: little is padded.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), self._batch):
            batch = order[start : start + self._batch]
            with self._lock:
                tokenizer, model = self._loaded = self._loaded or self._load()
                vectors = _embed(tokenizer, model, [texts[i] or " " for i in batch])
            found.update(zip(batch, vectors, strict=True))
        return np.array([found[i] for i in range(len(texts))])

    def _load(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModel, AutoTokenizer

        if self._threads:
            torch.set_num_threads(self._threads)
        tokenizer = AutoTokenizer.from_pretrained(self._path, local_files_only=True)
        model = AutoModel.from_pretrained(self._path, local_files_only=True).eval()
        return tokenizer, model


def _embed(tokenizer: Any, model: Any, texts: list[str]) -> NDArray[np.float64]:
    import torch

    tokens = tokenizer(
        texts, padding=True, truncation=True, max_length=_MOST_TOKENS, return_tensors="pt"
    )
    with torch.inference_mode():
        hidden = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        unit = torch.nn.functional.normalize(pooled, dim=1)
    vectors: NDArray[np.float64] = unit.double().numpy()
    return vectors
