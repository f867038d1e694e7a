"""What is kept in memory for all tenants together, so that one that floods loses only its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Newest(Generic[K, V]):
    """The newest of each tenant, `most` in all. A tenant with more than an even share makes room for its next
    one itself; for a tenant with less, the one with the most does."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        # By tenant, the oldest first.
        self._kept: dict[str, OrderedDict[K, V]] = {}

    def __len__(self) -> int:
        return self._size

    def get(self, tenant: str, key: K) -> V | None:
        mine = self._kept.get(tenant)
        return None if mine is None else mine.get(key)

    def put(self, tenant: str, key: K, value: V) -> None:
        """As the tenant's newest, also if there was one."""
        mine = self._kept.setdefault(tenant, OrderedDict())
        self._size += key not in mine
        mine[key] = value
        mine.move_to_end(key)
        while self._size > self._most:
            self._drop_oldest(tenant if self._has_its_share(tenant) else self._largest())

    def pop(self, tenant: str, key: K) -> None:
        """Whether it is there or not."""
        if key in self._kept.get(tenant, ()):
            self._drop(tenant, key)

    def forget(self, tenant: str, which: Callable[[V], bool]) -> None:
        mine = self._kept.get(tenant, OrderedDict())
        for key in [key for key, value in mine.items() if which(value)]:
            self._drop(tenant, key)

    def _has_its_share(self, tenant: str) -> bool:
        return len(self._kept[tenant]) * len(self._kept) > self._most

    def _largest(self) -> str:
        return max(self._kept, key=lambda tenant: len(self._kept[tenant]))

    def _drop_oldest(self, tenant: str) -> None:
        self._drop(tenant, next(iter(self._kept[tenant])))

    def _drop(self, tenant: str, key: K) -> None:
        del self._kept[tenant][key]
        self._size -= 1
        if not self._kept[tenant]:
            del self._kept[tenant]
