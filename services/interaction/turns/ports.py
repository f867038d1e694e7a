"""What the use cases need from outside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from services.interaction.turns.domain.conversations import (
    Conversation,
    ConversationQuery,
    Label,
    PagePosition,
    Score,
)
from shared.language.opinions import ExplicitFeedback
from shared.language.pairs import Pair
from shared.language.turns import Turn

# What callers log.
Item = Turn | ExplicitFeedback | Pair


class Journal(Protocol):
    """Where accepted items become durable."""

    async def write(self, items: Sequence[Item]) -> None:
        """Returns once all of them are held with acks=all. Unavailable or ResourceExhausted if not:
        some may be held, and the caller repeats the whole."""


class TurnWriter(Protocol):
    """The stored turns, within one transaction."""

    def add(self, turns: Sequence[Turn]) -> bool:
        """Stores turns and counts them into their conversations; False, and nothing is stored, if the
        name of one is taken or stands twice among them."""

    def digests_of(self, turns: Sequence[Turn]) -> dict[str, str]:
        """The digests of those that are stored already, by the turn's name."""


class ConversationReads(Protocol):
    def find(self, tenant: str, conversation_id: str) -> tuple[Conversation, list[Turn]] | None:
        """The conversation and its turns by index."""

    def page(
        self, tenant: str, query: ConversationQuery, after: PagePosition | None, size: int
    ) -> list[tuple[Conversation, PagePosition]]:
        """Newest first, those after `after`, each with its position. InvalidArgument for a term that
        cannot be asked."""

    def count(self, tenant: str, query: ConversationQuery, most: int) -> int:
        """Counts no further than `most`."""


class AnnotationWriter(Protocol):
    """Labels and scores, within one transaction. False for one that is known, or that came too late."""

    def add_label(self, label: Label) -> bool:
        """The first record of a feedback id wins."""

    def set_score(self, score: Score) -> bool:
        """The latest score of a turn wins."""


class SearchIndex(Protocol):
    def index_once(self) -> int:
        """Indexes the words of turns stored since; how many turns were gone through."""


class TurnArchive(Protocol):
    """Turns in files by tenant and day. Unavailable while the disk or the object store fails."""

    # How many turns `archive_once` takes at the most.
    batch: int

    def sweep(self, tenant: str = "") -> int:
        """Removes files that no record knows, left by a kill; how many."""

    def archive_once(self) -> int:
        """How many turns of the store's next batch were archived."""

    def compact_once(self) -> int:
        """How many files were made into one."""

    def release(self) -> None:
        """Gives back memory that is held for the next file."""

    def tenants(self) -> list[str]: ...

    def drop_before(self, tenant: str, archived_before: datetime) -> int:
        """Removes files to which nothing was added since; how many turns."""


class AgedTurns(Protocol):
    def tenants(self) -> list[str]: ...

    def shorten(self, tenant: str, added_before: datetime) -> int:
        """Removes some of the tenant's conversations that were not added to since, all of whose turns are
        archived; how many conversations. 0: none is left."""
