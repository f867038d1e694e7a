"""An estimate: a figure with its interval, and what it rests on."""

from __future__ import annotations

import re
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


def figure_name(estimate: Estimate) -> str:
    """What a tracker may call it: a group's figure is apart from everyone's."""
    if not estimate.group:
        return estimate.name
    return f"{estimate.name}/group/{re.sub(r'[^A-Za-z0-9_. -]', '_', estimate.group)}"
