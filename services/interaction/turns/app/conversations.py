"""Finds conversations; a tenant sees only its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.interaction.turns.domain.conversations import (
    Conversation,
    ConversationQuery,
    PagePosition,
)
from services.interaction.turns.domain.words import parse_query
from services.interaction.turns.ports import ConversationReads
from shared.language.assessments import Assessment
from shared.language.errors import InvalidArgument, NotFound, PermissionDenied
from shared.language.identifiers import conversation_id_of, parse_name
from shared.language.paging import decode_token, encode_token, page_size, parse_filter
from shared.language.turns import Turn

# Up to how many a list is counted, as counting reads all of it for each page.
_COUNTED = 10_000
FILTER_FIELDS = (
    "user_id", "channel", "model_version", "policy", "create_time", "label", "score",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    conversations: list[Conversation]
    next_token: str
    total: int


class Conversations:
    """Reads; a tenant sees only its own."""

    def __init__(self, reads: ConversationReads) -> None:
        self._reads = reads

    def get(self, tenant: str, name: str) -> tuple[Conversation, list[Turn]]:
        """`name`: what follows `conversations/` is what an application calls it, or its id."""
        owner, said = parse_name(name, "tenants/*/conversations/**")
        if owner != tenant:
            raise PermissionDenied(
                f"{name[:80]} does not belong to tenant {tenant!r}",
                reason="TENANT_MISMATCH",
                field="name",
            )
        found = self._reads.find(tenant, conversation_id_of(said))
        if found is None:
            raise NotFound(
                f"{name[:200]} is not stored; if it was logged just now, try again in a moment",
                field="name",
            )
        return found

    def assessments(
        self, conversation: Conversation, turns: Sequence[Turn]
    ) -> Sequence[Assessment]:
        """What evaluators said of it and of its answers, oldest first."""
        completions = sorted({turn.completion_id for turn in turns} - {""})
        return self._reads.assessments(
            conversation.tenant, conversation.conversation_id, completions
        )

    def list(self, tenant: str, filter_text: str, size: int, token: str, query: str = "") -> Page:
        """Newest first. The token belongs to tenant, filter and query."""
        request, limit = f"{tenant}\n{filter_text}\n{query}", page_size(size)
        wanted = ConversationQuery(parse_filter(filter_text, FILTER_FIELDS), parse_query(query))
        after = _decoded(decode_token(token, request))
        found = self._reads.page(tenant, wanted, after, limit + 1)
        page = [conversation for conversation, _ in found[:limit]]
        more = len(found) > limit
        next_token = encode_token(_position(found[limit - 1][1]), request) if more else ""
        return Page(page, next_token, self._reads.count(tenant, wanted, _COUNTED))


def _position(position: PagePosition) -> list[int | str]:
    return [position.listed_us, position.conversation_id]


def _decoded(position: object) -> PagePosition | None:
    match position:
        case None:
            return None
        case [int(listed_us), str(conversation_id)]:
            return PagePosition(listed_us, conversation_id)
    raise InvalidArgument(
        "page_token is invalid; use the next_page_token of the previous page", field="page_token"
    )
