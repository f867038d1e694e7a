"""Turns answers into rows of features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.reward.domain import Answer
from services.reward.learning.features import Array, assemble
from services.reward.ports import Encoder


class Featuriser:
    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def features(self, answers: Sequence[Answer]) -> Array:
        texts = [answer.text for answer in answers]
        vectors = self.embed([answer.request for answer in answers] + texts)
        return assemble(vectors[: len(texts)], vectors[len(texts) :], texts)

    def embed(self, texts: Sequence[str]) -> Array:
        """(len(texts), dim), in the double precision that training uses."""
        return self._encoder.embed(texts).astype(np.float64)
