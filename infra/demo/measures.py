"""Rates with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from shared.statistics.intervals import wilson


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` of `count`, from `users` distinct users. The interval (Wilson, 95%) takes the
    observations as independent."""

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
        return f"{self.value:.1%} [{low:.1%}, {high:.1%}]  {self.hits} of {self.count}"

    def as_dict(self) -> dict[str, Any]:
        low, high = self.interval
        value = self.value if self.count else None
        return asdict(self) | {"value": value, "low": low, "high": high, "method": "wilson"}


def rate(observations: Iterable[tuple[str, bool]]) -> Rate:
    """From (user, whether it happened)."""
    seen = list(observations)
    hits = sum(1 for _, happened in seen if happened)
    return Rate(hits, len(seen), len({user for user, _ in seen}))
