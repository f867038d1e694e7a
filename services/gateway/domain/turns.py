"""What goes to the interaction service, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.language.messages import Message


@dataclass(frozen=True, slots=True)
class LoggedTurn:
    """One message at its place. Without a `turn_id` it has the one that follows from place, role and
    content. `signal` is one of shared.language.messages.SIGNALS."""

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
    turn_id: str = ""
    signal: str = ""
    replaces_turn_id: str = ""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A turn on its way, as the sink will have it: it is not looked into any more."""

    tenant: str
    turn: object


@dataclass(frozen=True, slots=True)
class Rating:
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class GivenFeedback:
    """`value` is a thumb (bool), a rating or a category (str); or `demonstration` is set; or there is
    a comment alone. The answer is named by its completion, its turn, or its place (`index`)."""

    completion_id: str = ""
    conversation_id: str = ""
    turn_id: str = ""
    user_id: str = ""
    value: bool | Rating | str | None = None
    demonstration: str = ""
    comment: str = ""
    create_time: datetime | None = None
    feedback_id: str = ""
    index: int | None = None
    # Takes the place of the same user's feedback of this kind on this target.
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class StatedPreference:
    """Of two answers to one prompt, the one that was preferred. `source`: "import", "arena_vote"."""

    user_id: str
    source: str
    prompt: tuple[Message, ...]
    chosen: Message
    rejected: Message
    pair_id: str = ""
    conversation_id: str = ""
    model_version: str = ""
    comment: str = ""
    create_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that was not taken: its place in the batch and why."""

    position: int
    reason: str
    message: str
    field: str
