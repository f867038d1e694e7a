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

# Few different lengths: a product of another shape than those before is planned anew.
_BATCH, _LENGTH_STEP = 32, 8


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
        from tokenizers import Tokenizer

        from services.feedback.adapters.offline import bert

        torch.set_num_threads(threads)
        self._tokenizer: Any = Tokenizer.from_file(str(path / "tokenizer.json"))
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.no_padding()
        body = bert.pretrained(path).eval()
        self._body = body.to(torch.bfloat16) if multiplies_bfloat16() else body
        self._cached = cached
        self._cache: OrderedDict[str, Vectors] = OrderedDict()
        self._computing = threading.Lock()
        self.dimensions = body.size.width

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
        import torch

        found = [one.ids for one in self._tokenizer.encode_batch_fast(texts)]
        longest = -(-max(map(len, found)) // _LENGTH_STEP) * _LENGTH_STEP
        ids, inside = np.zeros((2, len(texts), longest), dtype=np.int64)
        for row, tokens in enumerate(found):
            ids[row, : len(tokens)], inside[row, : len(tokens)] = tokens, 1
        with torch.inference_mode():
            mask = torch.from_numpy(inside).bool()
            states = self._body(torch.from_numpy(ids), mask).float() * mask.unsqueeze(-1)
            # The sum over a text's tokens points where their mean does.
            unit = torch.nn.functional.normalize(states.sum(1), dim=1).numpy()
        return list(zip(texts, unit, strict=True))

    def _remember(self, fresh: dict[str, Vectors]) -> None:
        self._cache.update(fresh)
        while len(self._cache) > self._cached:
            self._cache.popitem(last=False)


def multiplies_bfloat16() -> bool:
    """Whether this processor says that it has bfloat16 instructions."""
    import torch

    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
