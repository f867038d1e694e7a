"""Turns on their way to the interaction service, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spooled:
    """A turn on its way, as the sink will have it: it is not looked into any more."""

    tenant: str
    turn: object


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that was not taken: its place in the batch and why."""

    position: int
    reason: str
    message: str
    field: str
