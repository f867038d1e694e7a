"""Sentence vectors by a BERT encoder (Sentence-BERT, arXiv 1908.10084) on ONNX Runtime: no torch.

`encoder.onnx`, which `make setup` writes beside the weights (infra/models/onnx_encoder.py), includes pooling
and normalisation: ids and mask go in, unit vectors come out.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.language.errors import FailedPrecondition

FILE, TOKENIZER = "encoder.onnx", "tokenizer.json"
_BATCH = 32

Vectors = NDArray[np.float32]


class SentenceEncoder:
    """`path` is the encoder's folder. Only the first `max_tokens` tokens of a text count: they say what it is
    about, and time grows with their number. `threads` threads compute one batch; the vectors of the `cached`
    texts used last are kept.

    Loads on first use (half a second). Thread-safe: calls take turns batch by batch, so that a long call
    does not hold up a short one.
    """

    def __init__(
        self, path: Path, *, max_tokens: int, threads: int = 1, cached: int = 4096
    ) -> None:
        self._path, self._max_tokens, self._threads = path, max_tokens, threads
        self._turn, self._kept = threading.Lock(), _LastUsed(cached)
        self._model: _Model | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """[len(texts), dimensions], rows of unit length; a text has the same row whatever else is in the call
        (cosine above 0.9999). Raises FailedPrecondition if the folder holds no encoder."""
        found = self._kept.get(set(texts))
        missing = sorted(set(texts) - found.keys(), key=len)  # similar lengths: little padding
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            with self._turn:
                self._model = self._model or _load(self._path, self._max_tokens, self._threads)
                found.update(zip(batch, self._model.vectors(batch), strict=True))
        self._kept.put({text: found[text] for text in missing})
        if not texts:
            return np.zeros((0, self.dimensions()), dtype=np.float32)
        return np.stack([found[text] for text in texts])

    def dimensions(self) -> int:
        """Raises FailedPrecondition if the folder holds no encoder."""
        with self._turn:
            self._model = self._model or _load(self._path, self._max_tokens, self._threads)
            return self._model.dimensions


@dataclass(frozen=True, slots=True)
class _Model:
    tokenizer: Any
    session: Any
    dimensions: int

    def vectors(self, texts: Sequence[str]) -> Vectors:
        tokens = [one.ids for one in self.tokenizer.encode_batch_fast(texts)]
        ids, mask = np.zeros((2, len(texts), max(map(len, tokens))), dtype=np.int64)
        for row, own in enumerate(tokens):
            ids[row, : len(own)], mask[row, : len(own)] = own, 1
        (found,) = self.session.run(["vectors"], {"ids": ids, "mask": mask})
        return np.asarray(found, dtype=np.float32)


class _LastUsed:
    """A thread-safe cache; what was used longest ago is removed first."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._rows: OrderedDict[str, Vectors] = OrderedDict()

    def get(self, texts: set[str]) -> dict[str, Vectors]:
        with self._lock:
            found = {text: self._rows[text] for text in texts if text in self._rows}
            for text in found:
                self._rows.move_to_end(text)
        return found

    def put(self, rows: dict[str, Vectors]) -> None:
        with self._lock:
            self._rows.update(rows)
            while len(self._rows) > self._most:
                self._rows.popitem(last=False)


def _load(path: Path, max_tokens: int, threads: int) -> _Model:
    import onnxruntime
    from tokenizers import Tokenizer

    if not (path / FILE).is_file() or not (path / TOKENIZER).is_file():
        raise FailedPrecondition(
            f"{path} holds no {FILE}: run `make setup`; for an encoder of your own run"
            f" `python -m infra.models.onnx_encoder {path}`",
            reason="NO_ENCODER",
        )
    tokenizer: Any = Tokenizer.from_file(str(path / TOKENIZER))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # The graph in the file is already the fastest. The runtime's own optimisations fuse sums and norms into a
    # kernel that takes five times as long; its arena never returns the memory that the longest batch needed.
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.graph_optimization_level, options.enable_cpu_mem_arena = level, False
    session = onnxruntime.InferenceSession(
        str(path / FILE), options, providers=["CPUExecutionProvider"]
    )
    return _Model(tokenizer, session, session.get_outputs()[0].shape[1])
