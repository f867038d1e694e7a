"""A turn: one message at its place in a conversation, the same in every service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.language.identifiers import stable_id, turn_name
from shared.language.messages import Message, content_of, default_turn_id


@dataclass(frozen=True, slots=True)
class Turn:
    """`index` does not count system messages. A turn without a `turn_id` is given one derived from place, role
    and content; without a `create_time`, the time at which it is accepted."""

    tenant: str
    conversation_id: str
    index: int
    message: Message
    user_id: str
    turn_id: str = ""
    model_version: str = ""
    completion_id: str = ""
    create_time: datetime | None = None
    # How it reached the platform.
    channel: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    # One of shared.language.messages.SIGNALS, and the turn that this one replaces.
    signal: str = ""
    replaces_turn_id: str = ""
    # The policy that answers in this conversation; empty: assistant.
    policy: str = ""

    @property
    def id(self) -> str:
        """Its `turn_id`, or the one that it is given when it is accepted."""
        return self.turn_id or default_turn_id(self.index, self.message)

    @property
    def name(self) -> str:
        return turn_name(self.tenant, self.conversation_id, self.turn_id)

    @property
    def role(self) -> str:
        return self.message.role

    @property
    def time(self) -> datetime:
        """`create_time` of an accepted turn. Raises ValueError if it was not accepted."""
        if self.create_time is None:
            raise ValueError(f"{self.name} has no time: it is not accepted yet")
        return self.create_time

    @property
    def is_alternative(self) -> bool:
        """Whether it is one of several answers to one call and not the one that the conversation continues."""
        return "choice_of" in self.metadata

    @property
    def digest(self) -> str:
        """What makes two turns with one id the same: place, role and content; not who logged them, or when."""
        return stable_id(str(self.index), self.message.role, content_of(self.message))

    @property
    def event_id(self) -> str:
        """The same turn logged again yields the same id; different content under its turn id yields another,
        so that the conflict is noticed."""
        return stable_id("turn", self.tenant, self.conversation_id, self.turn_id, self.digest)
