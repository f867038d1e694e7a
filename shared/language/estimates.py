"""An estimate: a figure with its interval, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """`low` and `high` bound the value at `confidence`; `users` are the distinct people behind `count` cases;
    `method` says how the interval was computed."""

    name: str
    value: float
    low: float
    high: float
    confidence: float = 0.95
    count: int = 0
    users: int = 0
    suite: str = ""
    method: str = ""
    # The group of people that it is about; empty: everyone.
    group: str = ""
