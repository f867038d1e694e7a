"""Keeps recently used reward models in memory."""

from __future__ import annotations

import threading

from cachetools import LRUCache

from services.reward.domain import Judgement, ModelCard, Pair, Rating
from services.reward.ports import RewardModel, RewardModels


class KeptModels:
    """RewardModels that caches the `most` models used most recently; a model never changes. Thread-safe: two
    threads that need the same model may both read it."""

    def __init__(self, models: RewardModels, most: int) -> None:
        self._models, self._lock = models, threading.Lock()
        self._kept: LRUCache[tuple[str, int], RewardModel] = LRUCache(most)

    def load(self, tenant: str, version: int) -> RewardModel:
        with self._lock:
            if (found := self._kept.get((tenant, version))) is not None:
                return found
        model = self._models.load(tenant, version)
        with self._lock:
            self._kept[tenant, version] = model
        return model

    def newest_version(self, tenant: str) -> int:
        return self._models.newest_version(tenant)

    def page(self, tenant: str, before: int | None, size: int) -> list[ModelCard]:
        return self._models.page(tenant, before, size)

    def data(self, tenant: str, most: int, most_per_user: int) -> tuple[list[Pair], list[Rating]]:
        return self._models.data(tenant, most, most_per_user)

    def judgements(self, tenant: str, most: int, most_per_user: int) -> list[Judgement]:
        return self._models.judgements(tenant, most, most_per_user)
