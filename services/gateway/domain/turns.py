"""What goes to the interaction service, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.messages import Message


@dataclass(frozen=True, slots=True)
class LoggedTurn:
    """One message at its place; its id follows from place, role and content."""

    tenant: str
    conversation_id: str
    index: int
    message: Message
    user_id: str
    create_time: datetime | None = None
    model_version: str = ""
    completion_id: str = ""
    channel: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rating:
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class GivenFeedback:
    """`value` is a thumb (bool), a rating or a category (str); or `demonstration` is set."""

    completion_id: str = ""
    conversation_id: str = ""
    turn_id: str = ""
    user_id: str = ""
    value: bool | Rating | str | None = None
    demonstration: str = ""
    comment: str = ""
    create_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that was not taken: its place in the batch and why."""

    position: int
    reason: str
    message: str
    field: str
