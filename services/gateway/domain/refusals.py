"""What the interaction service refuses of what is sent to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that was refused: its place in the batch, and why."""

    position: int
    reason: str
    message: str
    field: str
