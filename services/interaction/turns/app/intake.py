"""Accepts batches: items that break a rule are refused, the rest becomes durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from services.interaction.turns.app.redacting import redacted
from services.interaction.turns.domain.acceptance import (
    Limits,
    Refusal,
    accept_assessment,
    accept_feedback,
    accept_pair,
    accept_turn,
)
from services.interaction.turns.ports import Journal
from shared.language.assessments import Assessment
from shared.language.attempts import attempted
from shared.language.errors import TrimtabError
from shared.language.opinions import ExplicitFeedback
from shared.language.pairs import Pair
from shared.language.turns import Turn
from shared.redaction.redactor import Redactor

AnyItem = TypeVar("AnyItem", Turn, ExplicitFeedback, Pair, Assessment)


class Intake:
    """Accepts batches: items that break a rule are refused with the reason; the rest is redacted by the
    tenant's policy and journalled. Ids are made of what is left."""

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
        """Items that could not be read are given as their error. Positions count from `first`."""
        turns, refusals = self._sort(tenant, items, accept_turn, first)
        if turns:
            await self._journal.write(turns)
        return turns, refusals

    async def log_feedback(
        self, tenant: str, items: Sequence[ExplicitFeedback | TrimtabError]
    ) -> tuple[list[ExplicitFeedback], list[Refusal]]:
        feedback, refusals = self._sort(tenant, items, accept_feedback, 0)
        if feedback:
            await self._journal.write(feedback)
        return feedback, refusals

    async def log_assessments(
        self, tenant: str, items: Sequence[Assessment | TrimtabError]
    ) -> tuple[list[Assessment], list[Refusal]]:
        assessments, refusals = self._sort(tenant, items, accept_assessment, 0)
        if assessments:
            await self._journal.write(assessments)
        return assessments, refusals

    async def log_pairs(
        self, tenant: str, items: Sequence[Pair | TrimtabError]
    ) -> tuple[list[Pair], list[Refusal]]:
        pairs, refusals = self._sort(tenant, items, accept_pair, 0)
        if pairs:
            await self._journal.write(pairs)
        return pairs, refusals

    def _sort(
        self,
        tenant: str,
        items: Sequence[AnyItem | TrimtabError],
        accept: Callable[[AnyItem, str, datetime, Limits], AnyItem],
        first: int,
    ) -> tuple[list[AnyItem], list[Refusal]]:
        now, accepted, refusals = self._clock(), [], []

        def accepting(item: AnyItem) -> AnyItem:
            clean = redacted(item, tenant, self._redactor, self._limits)
            return accept(clean, tenant, now, self._limits)

        for position, item in enumerate(items, start=first):
            if isinstance(item, TrimtabError):
                refusals.append(Refusal(position, item))
                continue
            found = attempted(accepting, item)
            if isinstance(found, TrimtabError):
                refusals.append(Refusal(position, found))
            else:
                accepted.append(found)
        return accepted, refusals
