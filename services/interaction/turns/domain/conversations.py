"""Stored conversations, their labels and scores, and how they are queried."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.interaction.turns.domain.words import Phrase
from shared.language.identifiers import conversation_name
from shared.language.paging import Term


@dataclass(frozen=True, slots=True)
class Label:
    """A follow-up's or explicit feedback's label of an answer, or of the conversation if turn_id is empty."""

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
    """Where a page ends: the time that lists are ordered by, in microseconds, then the id. Neither changes."""

    listed_us: int
    conversation_id: str


@dataclass(frozen=True, slots=True)
class ConversationQuery:
    """Conversations for which every term holds and one turn contains every phrase."""

    terms: tuple[Term, ...]
    phrases: tuple[Phrase, ...] = ()
