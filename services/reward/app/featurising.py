"""Answers as rows of features."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from services.reward.domain import Answer
from services.reward.learning.features import Array, assemble
from services.reward.ports import Encoder


class Featuriser:
    """Answers as feature rows; embeddings of the last `most_cached` texts are kept."""

    def __init__(self, encoder: Encoder, most_cached: int = 20_000) -> None:
        self._encoder, self._most = encoder, most_cached
        self._lock = threading.Lock()
        self._cached: OrderedDict[str, Array] = OrderedDict()

    def features(self, answers: Sequence[Answer]) -> Array:
        texts = [answer.text for answer in answers]
        vectors = self.embed([answer.request for answer in answers] + texts)
        return assemble(vectors[: len(texts)], vectors[len(texts) :], texts)

    def embed(self, texts: Sequence[str]) -> Array:
        unique = list(dict.fromkeys(texts))
        with self._lock:
            known = {text: self._cached[text] for text in unique if text in self._cached}
        missing = [text for text in unique if text not in known]
        if missing:
            known.update(zip(missing, self._encoder.encode(missing), strict=True))
        with self._lock:
            for text in unique:
                self._cached[text] = known[text]
                self._cached.move_to_end(text)
            while len(self._cached) > self._most:
                self._cached.popitem(last=False)
        return np.array([known[text] for text in texts])
