"""What the miner is measured against: sentence vectors of three texts and logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.feedback.mining.app.features import Conversation, Floats
from services.feedback.mining.ports import Embedder, Vectors
from shared.commandline.offline import cores

BATCH = 32
# The model's makers' own bound.
MOST_TOKENS = 256


class PlainEmbedder:
    """Sentence vectors as a library for all models makes them, in float32: what is compared with."""

    def __init__(self, path: Path) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        torch.set_num_threads(cores())
        self._tokenizer: Any = AutoTokenizer.from_pretrained(str(path))
        self._model: Any = AutoModel.from_pretrained(str(path), dtype=torch.float32).eval()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """[n, d], of unit length; texts of like lengths together."""
        order = sorted(range(len(texts)), key=lambda one: len(texts[one]))
        rows = np.zeros((len(texts), self._model.config.hidden_size), dtype=np.float32)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            rows[batch] = self._pooled([texts[one] for one in batch])
        return rows

    def _pooled(self, texts: Sequence[str]) -> Vectors:
        import torch

        tokens = self._tokenizer(list(texts), padding=True, truncation=True, max_length=MOST_TOKENS,
                                 return_tensors="pt")  # fmt: skip
        with torch.inference_mode():
            states = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1)
            return np.asarray(torch.nn.functional.normalize((states * mask).sum(1), dim=1))


class Baseline:
    """Owns its weights; embeds three texts a turn, as it would be done at first.

    Logistic regression on the vectors of request, answer and follow-up, their products and cosines.
    """

    def __init__(
        self, embedder: Embedder, conversations: Sequence[Conversation], truth: Sequence[str]
    ) -> None:
        from sklearn.linear_model import LogisticRegression

        self._embedder = embedder
        self._model = LogisticRegression(max_iter=500).fit(self._inputs(conversations), truth)

    @property
    def labels(self) -> list[str]:
        """Of the columns."""
        return list(self._model.classes_)

    def __call__(self, conversations: Sequence[Conversation]) -> Floats:
        found: Any = self._model.predict_proba(self._inputs(conversations))
        return np.asarray(found)

    def _inputs(self, conversations: Sequence[Conversation]) -> Floats:
        texts = [[getattr(one, part) for one in conversations]
                 for part in ("request", "answer", "follow_up")]  # fmt: skip
        request, answer, said = (np.asarray(self._embedder.embed(column)) for column in texts)
        products = [said * request, said * answer, request * answer]
        cosines = np.stack([product.sum(1) for product in products], 1)
        return np.concatenate([request, answer, said, *products, cosines], 1)
