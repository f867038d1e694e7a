"""Sentence vectors by a BERT encoder (Sentence-BERT, arXiv 1908.10084) on ONNX Runtime: no torch.

`make setup` writes `encoder.onnx` and `encoder-int8.onnx` beside the weights (infra/models/onnx_encoder.py).
Pooling and normalisation are in them: ids and mask go in, unit vectors come out.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from shared.language.errors import FailedPrecondition

FILE, INT8_FILE, TOKENIZER = "encoder.onnx", "encoder-int8.onnx", "tokenizer.json"
# Tokens of one batch, padding included: what a layer needs of more does not fit a core's cache.
_BATCH = 256
# Processors that multiply bytes into 32-bit sums. Others are slower at it than in float32, or overflow.
_INT8 = {"avx_vnni", "avx512_vnni", "asimddp"}
_PROCESSOR = Path("/proc/cpuinfo")

Vectors = NDArray[np.float32]


class SentenceEncoder:
    """`path` is the encoder's folder. Only the first `max_tokens` tokens of a text count: they say what it is
    about, and time grows with their number. `threads` threads compute one batch; the vectors of the `cached`
    texts used last are kept. `int8`: twice as fast, with vectors that differ by 0.001 in cosine on average and
    by 0.005 at most; processors that are not made for it compute in float32 all the same.

    Loads on first use (half a second). Thread-safe: calls take turns batch by batch, so that a long call
    does not hold up a short one.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_tokens: int,
        threads: int = 1,
        cached: int = 4096,
        int8: bool = False,
    ) -> None:
        self._path, self._max_tokens, self._threads, self._int8 = path, max_tokens, threads, int8
        self._turn, self._keeping, self._cached = threading.Lock(), threading.Lock(), cached
        self._kept: LRUCache[str, Vectors] = LRUCache(cached)
        self._model: _Model | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """[len(texts), dimensions], rows of unit length; a text has the same row whatever else is in the call
        (cosine above 0.9999). Raises FailedPrecondition if the folder holds no encoder."""
        model = self._loaded()
        with self._keeping:
            found = {text: self._kept[text] for text in set(texts) if text in self._kept}
        missing = sorted(set(texts) - found.keys())
        for batch in _batches(model.tokens(missing)):
            with self._turn:
                vectors = model.vectors(batch.values())
            found.update(zip((missing[at] for at in batch), vectors, strict=True))
        kept = missing[max(0, len(missing) - self._cached) :]
        with self._keeping:
            self._kept.update({text: found[text] for text in kept})
        if not texts:
            return np.zeros((0, model.dimensions), dtype=np.float32)
        return np.stack([found[text] for text in texts])

    def dimensions(self) -> int:
        """Raises FailedPrecondition if the folder holds no encoder."""
        return self._loaded().dimensions

    def _loaded(self) -> _Model:
        with self._turn:
            if self._model is None:
                self._model = _load(self._path, self._max_tokens, self._threads, self._int8)
            return self._model


@dataclass(frozen=True, slots=True)
class _Model:
    tokenizer: Any
    session: Any
    dimensions: int

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return [one.ids for one in self.tokenizer.encode_batch_fast(texts)]

    def vectors(self, tokens: Collection[list[int]]) -> Vectors:
        ids, mask = np.zeros((2, len(tokens), max(map(len, tokens))), dtype=np.int64)
        for row, own in enumerate(tokens):
            ids[row, : len(own)], mask[row, : len(own)] = own, 1
        (found,) = self.session.run(["vectors"], {"ids": ids, "mask": mask})
        return np.asarray(found, dtype=np.float32)


def _batches(tokens: Sequence[list[int]]) -> Iterator[dict[int, list[int]]]:
    """Tokens by place, similar lengths together: little padding."""
    batch: dict[int, list[int]] = {}
    for at in sorted(range(len(tokens)), key=lambda at: len(tokens[at])):
        if batch and (len(batch) + 1) * len(tokens[at]) > _BATCH:
            yield batch
            batch = {}
        batch[at] = tokens[at]
    if batch:
        yield batch


def _load(path: Path, max_tokens: int, threads: int, int8: bool) -> _Model:
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
    # What people write is text, even where it spells "[SEP]".
    tokenizer.encode_special_tokens = True
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # The graph in the file is already the fastest. The runtime's own optimisations fuse sums and norms into a
    # kernel that takes five times as long; its arena never returns the memory that the longest batch needed.
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.graph_optimization_level, options.enable_cpu_mem_arena = level, False
    file = INT8_FILE if int8 and _multiplies_bytes() and (path / INT8_FILE).is_file() else FILE
    session = onnxruntime.InferenceSession(
        str(path / file), options, providers=["CPUExecutionProvider"]
    )
    return _Model(tokenizer, session, session.get_outputs()[0].shape[1])


def _multiplies_bytes() -> bool:
    return _PROCESSOR.is_file() and not _INT8.isdisjoint(_PROCESSOR.read_text().split())
