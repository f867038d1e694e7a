"""A detector watches one stream: the stream's first values become its reference, and it tests each later one.

To add one, write one file next to this one, and one line in app/watching.py that says which stream it watches.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

# The chance that the bound of a reference is too low.
ERROR = 0.05
# What a detector keeps about the values it has seen: a few numbers, JSON-shaped, read by nobody else.
Memory = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reference:
    """The first `count` values, frozen. `mean` and `std` are in the stream's own unit. `bound` is what the
    mean is tested against, on the tested scale, for detectors that have one; `confidence` is the bound's."""

    count: int
    mean: float
    std: float
    bound: float
    confidence: float = 1.0 - ERROR


class Detector(Protocol):
    """Pure: results depend only on arguments. `log_e` is the natural logarithm of an e-process: while nothing
    changes, it takes 1/alpha values or more on average to reach log(1/alpha)."""

    @property
    def name(self) -> str: ...

    @property
    def direction(self) -> str:
        """ "up" or "down": where the mean of the values goes when it alarms."""

    @property
    def is_rate(self) -> bool:
        """Whether the values are 0 and 1."""

    def start(
        self,
        values: Sequence[float],
        users: Sequence[Hashable] | None = None,
        error: float = ERROR,
    ) -> tuple[Reference, Memory]:
        """Learns the reference from the first values, of which there is at least one. `users` names each
        value's user; by default each is another's. `error`: the chance that the bound is too low."""

    def step(self, memory: Memory, reference: Reference, value: float, uniform: float) -> Memory:
        """The memory after one more value. `uniform` in [0, 1) is drawn for this value, to break ties."""

    def log_e(self, memory: Memory) -> float:
        """The evidence for a change; minus infinity before the first step."""

    def change_start(self, memory: Memory) -> int:
        """The step, counted from 0, at which the change most likely began."""

    def premise(self, reference: Reference, unit: str) -> str:
        """The assumption behind the promise, as a clause that starts with "If". `unit` is what a value stands
        for."""
