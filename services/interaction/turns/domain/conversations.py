"""Conversations as they are found again: what others said of them, and how they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.interaction.turns.domain.words import Phrase
from shared.language.identifiers import conversation_name
from shared.language.paging import Term


@dataclass(frozen=True, slots=True)
class Label:
    """What a follow-up, or explicit feedback, says of an answer (of the conversation without turn_id)."""

    tenant: str
    feedback_id: str
    conversation_id: str
    turn_id: str
    user_id: str
    names: tuple[str, ...]
    labelled_us: int
    # feedback_ids of labels that no longer count.
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """A reward model's score of an answer."""

    tenant: str
    conversation_id: str
    turn_id: str
    user_id: str
    value: float
    scored_us: int
    model: str


@dataclass(frozen=True, slots=True)
class Conversation:
    tenant: str
    conversation_id: str
    user_id: str
    channel: str
    turn_count: int
    create_time: datetime
    update_time: datetime
    model_versions: tuple[str, ...]

    @property
    def name(self) -> str:
        return conversation_name(self.tenant, self.conversation_id)


@dataclass(frozen=True, slots=True)
class PagePosition:
    """Where a page ends: the time it is listed by in microseconds, then the id. Neither changes."""

    listed_us: int
    conversation_id: str


@dataclass(frozen=True, slots=True)
class ConversationQuery:
    """Which conversations: every term holds, and one of the turns has every phrase."""

    terms: tuple[Term, ...]
    phrases: tuple[Phrase, ...] = ()
