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
from shared.language.assessments import Assessment
from shared.language.opinions import ExplicitFeedback
from shared.language.pairs import Pair
from shared.language.turns import Turn

# What callers log.
Item = Turn | ExplicitFeedback | Pair | Assessment


class Journal(Protocol):
    """Where accepted items become durable."""

    async def write(self, items: Sequence[Item]) -> None:
        """Returns once Kafka holds all of them (acks=all). Otherwise Unavailable or ResourceExhausted: Kafka
        may hold some, and the caller repeats the whole."""


class TurnWriter(Protocol):
    """The stored turns, within one transaction."""

    def add(self, turns: Sequence[Turn]) -> bool:
        """Stores turns and counts them into their conversations. Stores nothing and returns False if a name is
        taken already, or occurs twice among them."""

    def digests_of(self, turns: Sequence[Turn]) -> dict[str, str]:
        """The digests of those that are stored already, by turn name."""


class ConversationReads(Protocol):
    def find(self, tenant: str, conversation_id: str) -> tuple[Conversation, list[Turn]] | None:
        """The conversation and its turns by index."""

    def assessments(
        self, tenant: str, conversation_id: str, completion_ids: Sequence[str]
    ) -> list[Assessment]:
        """Those of the conversation and of these completions, oldest first."""

    def page(
        self, tenant: str, query: ConversationQuery, after: PagePosition | None, size: int
    ) -> list[tuple[Conversation, PagePosition]]:
        """Newest first, those after `after`, each with its position. InvalidArgument for an unsupported
        term."""

    def count(self, tenant: str, query: ConversationQuery, most: int) -> int:
        """Counts no further than `most`."""


class AnnotationWriter(Protocol):
    """Labels, scores and assessments, within one transaction. False for one that is known already or came too
    late."""

    def add_label(self, label: Label) -> bool:
        """The first record of a feedback id wins."""

    def set_score(self, score: Score) -> bool:
        """The latest score of a turn wins."""

    def add_assessment(self, assessment: Assessment) -> bool:
        """The first record of an assessment's id wins."""


class SearchIndex(Protocol):
    def index_once(self) -> int:
        """Indexes the words of a batch of new turns; how many turns."""


class TurnArchive(Protocol):
    """Turns in files by tenant and day. Unavailable while the disk or the object store fails."""

    # How many turns `archive_once` archives at most.
    batch: int

    def sweep(self, tenant: str = "") -> int:
        """Removes files without a record, left by a kill; how many."""

    def archive_once(self) -> int:
        """Archives the store's next batch; how many turns."""

    def compact_once(self) -> int:
        """Merges the small files of a day; how many files."""

    def tenants(self) -> list[str]: ...

    def drop_before(self, tenant: str, archived_before: datetime) -> int:
        """Removes files to which nothing was added since then; how many turns."""


class AgedTurns(Protocol):
    def tenants(self) -> list[str]: ...

    def shorten(self, tenant: str, added_before: datetime) -> int:
        """Removes a batch of the tenant's conversations to which nothing was added since then and all of whose
        turns are archived; how many conversations. 0: none is left."""
