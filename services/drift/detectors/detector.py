"""What watches a stream: it takes a frozen beginning as its reference, then tests each later value.

A detector is one file beside this one, and one line in app/watching.py, which says what stream it watches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

# What a detector keeps of the values it has seen: JSON-shaped, a few numbers, read by nobody else.
Memory = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reference:
    """A frozen beginning of `count` values. `mean` and `std` in the stream's own unit; `bound` is what the
    tested mean is held against, on the tested scale, where a detector has one."""

    count: int
    mean: float
    std: float
    bound: float


class Detector(Protocol):
    """Pure: what it is given decides what it answers. `log_e` is the natural logarithm of an e-process: while
    nothing changes, it reaches log(1/alpha) no sooner than after 1/alpha values in the mean."""

    @property
    def name(self) -> str: ...

    @property
    def direction(self) -> str:
        """ "up" or "down": where the mean of the values goes when it alarms."""

    @property
    def is_rate(self) -> bool:
        """Whether the values are 0 and 1."""

    def start(self, values: Sequence[float]) -> tuple[Reference, Memory]:
        """From the values of the beginning, one or more."""

    def step(self, memory: Memory, reference: Reference, value: float, uniform: float) -> Memory:
        """After one more value; `uniform` in [0, 1) is drawn for it alone, for tests that break ties."""

    def log_e(self, memory: Memory) -> float:
        """The evidence for a change; minus infinity before the first step."""

    def change_start(self, memory: Memory) -> int:
        """Where the change most likely began: a number of steps, from 0."""

    def premise(self, reference: Reference, unit: str) -> str:
        """What must hold for the promise, as a clause that begins with "If"; `unit` names values."""
