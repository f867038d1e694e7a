"""The newest answers that came in spans, so that scores find what they are about by the span or the trace."""

from __future__ import annotations

from collections import OrderedDict

from shared.language.turns import Turn


class NewestAnswers:
    """By tenant, trace and span. Older ones are forgotten: a score of them goes by the ids that it has."""

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._turns: OrderedDict[tuple[str, str, str], Turn] = OrderedDict()

    def note(self, turn: Turn) -> None:
        """A turn that was logged of a span; others are none of an answer's."""
        trace_id, span_id = turn.metadata.get("trace_id", ""), turn.metadata.get("span_id", "")
        if not span_id:
            return
        for key in ((turn.tenant, trace_id, span_id), (turn.tenant, trace_id, "")):
            self._turns[key] = turn
            self._turns.move_to_end(key)
        while len(self._turns) > self._most:
            self._turns.popitem(last=False)

    def find(self, tenant: str, trace_id: str, span_id: str) -> Turn | None:
        """The answer in the span. Without a span, and for one without an answer, as an agent's, the trace's
        last."""
        by_span = self._turns.get((tenant, trace_id, span_id))
        return by_span or self._turns.get((tenant, trace_id, ""))
