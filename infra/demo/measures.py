"""Rates with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` of `count`, from `users` distinct users. The interval takes observations as independent."""

    hits: int
    count: int
    users: int

    @property
    def value(self) -> float:
        return self.hits / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.hits, self.count)

    @property
    def words(self) -> str:
        if not self.count:
            return "none seen"
        low, high = self.interval
        figure = f"{self.value:6.1%} [{low:.1%}, {high:.1%}]"
        return f"{figure}  {self.hits}/{self.count}, {self.users} users"

    def as_dict(self) -> dict[str, Any]:
        low, high = self.interval
        value = self.value if self.count else None
        return asdict(self) | {"value": value, "low": low, "high": high, "method": "wilson 95%"}


def rate(observations: Iterable[tuple[str, bool]]) -> Rate:
    """From (user, whether it happened)."""
    seen = list(observations)
    hits = sum(1 for _, happened in seen if happened)
    return Rate(hits, len(seen), len({user for user, _ in seen}))


def wilson(hits: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927); (0, 1) of nothing."""
    if count == 0:
        return 0.0, 1.0
    share, spread = hits / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)
