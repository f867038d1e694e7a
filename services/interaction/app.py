"""Use cases: take turns and feedback in, keep what the log brings, find conversations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from services.interaction.domain import (
    Conversation,
    Feedback,
    Limits,
    Preference,
    Refusal,
    Turn,
    accept_feedback,
    accept_preference,
    accept_turn,
)
from services.interaction.redacting import redacted
from services.interaction.searching import Phrase, parse_query
from shared.language.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    TrimtabError,
)
from shared.language.identifiers import parse_name
from shared.language.paging import Term, decode_token, encode_token, page_size, parse_filter
from shared.redaction.redactor import Redactor

FILTER_FIELDS = ("user_id", "channel", "model_version", "create_time", "label", "score")

Item = TypeVar("Item", Turn, Feedback, Preference)


class Journal(Protocol):
    """Where accepted items become durable."""

    async def write(self, items: Sequence[Turn | Feedback | Preference]) -> None:
        """Returns once all of them are held with acks=all. Unavailable or ResourceExhausted if not:
        some may be held, and the caller repeats the whole."""


class Shelf(Protocol):
    """The stored turns, within one transaction."""

    def add(self, turns: Sequence[Turn]) -> bool:
        """Stores turns and counts them into their conversations; False, and nothing is stored, if the
        name of one is taken or stands twice among them."""

    def digests_of(self, turns: Sequence[Turn]) -> dict[str, str]:
        """The digests of those that are stored already, by the turn's name."""


class ConversationStore(Protocol):
    def find(self, tenant: str, conversation_id: str) -> tuple[Conversation, list[Turn]] | None:
        """The conversation and its turns by index."""

    def page(
        self, tenant: str, sought: Sought, after: Place | None, size: int
    ) -> list[tuple[Conversation, Place]]:
        """Newest first, those after `after`, each with its place. InvalidArgument for a term that
        cannot be asked."""

    def count(self, tenant: str, sought: Sought) -> int: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ends: the time it is listed by in microseconds, then the id. Neither changes."""

    listed_us: int
    conversation_id: str


@dataclass(frozen=True, slots=True)
class Sought:
    """Which conversations: every term holds, and one of the turns has every phrase."""

    terms: tuple[Term, ...]
    phrases: tuple[Phrase, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    conversations: list[Conversation]
    next_token: str
    total: int


class Intake:
    """Takes batches: what breaks a rule is refused with its reason; the rest is journalled, without
    what the tenant's policy of redaction takes out. Ids are made of what is left."""

    def __init__(
        self,
        journal: Journal,
        limits: Limits,
        clock: Callable[[], datetime],
        redactor: Redactor | None = None,
    ) -> None:
        self._journal, self._limits, self._clock = journal, limits, clock
        self._redactor = redactor or Redactor()

    async def log_turns(
        self, tenant: str, items: Sequence[Turn | TrimtabError], first: int = 0
    ) -> tuple[list[Turn], list[Refusal]]:
        """Items that could not even be read come as their error. Positions count from `first`."""
        turns, refusals = self._sort(tenant, items, accept_turn, first)
        if turns:
            await self._journal.write(turns)
        return turns, refusals

    async def log_feedback(
        self, tenant: str, items: Sequence[Feedback | TrimtabError]
    ) -> tuple[list[Feedback], list[Refusal]]:
        feedback, refusals = self._sort(tenant, items, accept_feedback, 0)
        if feedback:
            await self._journal.write(feedback)
        return feedback, refusals

    async def log_preferences(
        self, tenant: str, items: Sequence[Preference | TrimtabError]
    ) -> tuple[list[Preference], list[Refusal]]:
        preferences, refusals = self._sort(tenant, items, accept_preference, 0)
        if preferences:
            await self._journal.write(preferences)
        return preferences, refusals

    def _sort(
        self,
        tenant: str,
        items: Sequence[Item | TrimtabError],
        accept: Callable[[Item, str, datetime, Limits], Item],
        first: int,
    ) -> tuple[list[Item], list[Refusal]]:
        now, accepted, refusals = self._clock(), [], []
        for position, item in enumerate(items, start=first):
            if isinstance(item, TrimtabError):
                refusals.append(Refusal(position, item))
                continue
            try:
                clean = redacted(item, tenant, self._redactor, self._limits)
                accepted.append(accept(clean, tenant, now, self._limits))
            except TrimtabError as error:
                refusals.append(Refusal(position, error))
        return accepted, refusals


def keep(turns: Sequence[Turn], shelf: Shelf) -> list[Turn]:
    """Stores turns and says which were new: the first of a name wins, so a repeat that knows less
    (no version, no completion id) takes nothing away. InvalidArgument if an id is taken by other
    content; then nothing is stored."""
    if shelf.add(turns):
        return list(turns)
    stored, fresh = shelf.digests_of(turns), list[Turn]()
    for turn in turns:
        digest = stored.get(turn.name)
        if digest is None:
            stored[turn.name] = turn.digest
            fresh.append(turn)
        elif digest != turn.digest:
            raise InvalidArgument(
                f"{turn.name} is stored with other content",
                reason="DUPLICATE_ID_OTHER_CONTENT",
                field="turn_id",
            )
    if fresh and not shelf.add(fresh):
        raise AlreadyExists("another stage stored one of these turns meanwhile", field="turn_id")
    return fresh


class Conversations:
    """Reads; a tenant sees its own only."""

    def __init__(self, store: ConversationStore) -> None:
        self._store = store

    def get(self, tenant: str, name: str) -> tuple[Conversation, list[Turn]]:
        owner, conversation_id = parse_name(name, "tenants/*/conversations/*")
        if owner != tenant:
            raise PermissionDenied(
                f"{name[:80]} is not of tenant {tenant!r}", reason="TENANT_MISMATCH", field="name"
            )
        found = self._store.find(tenant, conversation_id)
        if found is None:
            raise NotFound(f"{name} is not stored; was it logged a moment ago?", field="name")
        return found

    def list(self, tenant: str, filter_text: str, size: int, token: str, query: str = "") -> Page:
        """Newest first. The token belongs to tenant, filter and query."""
        request, limit = f"{tenant}\n{filter_text}\n{query}", page_size(size)
        sought = Sought(parse_filter(filter_text, FILTER_FIELDS), parse_query(query))
        after = _place(decode_token(token, request))
        found = self._store.page(tenant, sought, after, limit + 1)
        page = [conversation for conversation, _ in found[:limit]]
        more = len(found) > limit
        next_token = encode_token(_position(found[limit - 1][1]), request) if more else ""
        return Page(page, next_token, self._store.count(tenant, sought))


def _position(place: Place) -> list[int | str]:
    return [place.listed_us, place.conversation_id]


def _place(position: object) -> Place | None:
    match position:
        case None:
            return None
        case [int(listed_us), str(conversation_id)]:
            return Place(listed_us, conversation_id)
    raise InvalidArgument("page_token is not one of ours", field="page_token")
