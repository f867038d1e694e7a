"""The newest answers that came in spans, so that scores find what they are about by the span or the trace."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from services.gateway.app.newest import Newest
from shared.language.turns import Turn


@dataclass(frozen=True, slots=True)
class AnswerPlace:
    """Where an answer is; not what it says."""

    conversation_id: str
    index: int
    completion_id: str


class NewestAnswers:
    """By tenant, trace and span. Older ones are forgotten: a score of them goes by the ids that it has."""

    def __init__(self, most: int = 20_000) -> None:
        self._places: Newest[tuple[str, str], AnswerPlace] = Newest(most)

    def note(self, turn: Turn) -> None:
        """A turn that was logged of a span; others are none of an answer's."""
        trace_id, span_id = turn.metadata.get("trace_id", ""), turn.metadata.get("span_id", "")
        if not span_id:
            return
        place = AnswerPlace(turn.conversation_id, turn.index, turn.completion_id)
        for key in ((trace_id, span_id), (trace_id, "")):
            self._places.put(turn.tenant, key, place)

    def find(self, tenant: str, trace_id: str, span_id: str) -> AnswerPlace | None:
        """The answer in the span. Without a span, and for one without an answer, as an agent's, the trace's
        last."""
        by_span = self._places.get(tenant, (trace_id, span_id))
        return by_span or self._places.get(tenant, (trace_id, ""))

    def forget(self, tenant: str, conversation_ids: Set[str]) -> None:
        """For a user who was erased."""
        self._places.forget(tenant, lambda place: place.conversation_id in conversation_ids)
