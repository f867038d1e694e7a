"""The Encoder's twin without a model: equal texts have equal unit vectors, different texts different ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.language.identifiers import stable_id


class HashingEncoder:
    """`encoded` lists the requested texts, for assertions."""

    def __init__(self, dim: int = 8) -> None:
        self._dim = dim
        self.encoded: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.encoded += texts
        vectors = np.array([self._vector(text) for text in texts])
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(unit, dtype=np.float32)

    def _vector(self, text: str) -> NDArray[np.float64]:
        seed = int(stable_id(text, length=12), 16)
        return np.random.default_rng(seed).normal(size=self._dim)
