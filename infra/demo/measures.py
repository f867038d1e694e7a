"""Rates with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from shared.statistics import intervals
from shared.statistics.intervals import Interval


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happened; `interval` (95%) is as wide as its users allow."""

    interval: Interval

    @property
    def hits(self) -> int:
        return round(self.interval.value * self.count) if self.count else 0

    @property
    def count(self) -> int:
        return self.interval.count

    @property
    def users(self) -> int:
        return self.interval.groups

    @property
    def value(self) -> float:
        return self.interval.value if self.count else math.nan

    @property
    def words(self) -> str:
        if not self.count:
            return "none seen"
        interval = f"[{self.interval.low:.1%}, {self.interval.high:.1%}]"
        return f"{self.value:.1%} {interval}  {self.hits} of {self.count}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "hits": self.hits,
            "count": self.count,
            "users": self.users,
            "value": self.value if self.count else None,
            "low": self.interval.low,
            "high": self.interval.high,
            "method": self.interval.method,
        }


def rate(observations: Iterable[tuple[str, bool]]) -> Rate:
    """From (user, whether it happened)."""
    seen = list(observations)
    return Rate(intervals.rate([float(one) for _, one in seen], [user for user, _ in seen]))
