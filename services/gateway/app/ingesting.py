"""Batches of conversations, feedback, assessments and preferences: durable before the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.gateway.domain.refusals import Refused
from services.gateway.ports import Sink, TurnQuota
from shared.language.assessments import Assessment
from shared.language.opinions import ExplicitFeedback
from shared.language.pairs import Pair
from shared.language.turns import Turn

_CALL_TURNS = 1000
_CALL_CHARS = 2_000_000


@dataclass(frozen=True, slots=True)
class PlacedTurn:
    """A turn in a batch of conversations: the conversation's place, and the message's place in it."""

    conversation: int
    message: int
    turn: Turn


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    conversation: int
    # None if the conversation as a whole was refused.
    message: int | None
    reason: str
    text: str
    field: str


class Ingesting:
    """What a tenant sends counts against its quota before it is passed on."""

    def __init__(self, sink: Sink, quota: TurnQuota) -> None:
        self._sink, self._quota = sink, quota

    async def log_conversations(
        self, tenant: str, turns: Sequence[PlacedTurn]
    ) -> list[RefusedMessage]:
        """What interaction refused; Kafka holds the rest. Unavailable if any could not be written; the same
        batch sent again counts once."""
        refusals: list[RefusedMessage] = []
        self._quota.turns(tenant, len(turns))
        for call in _calls(turns):
            for refused in await self._sink.log_turns(tenant, [placed.turn for placed in call]):
                placed = call[refused.position]
                refusals.append(
                    RefusedMessage(
                        placed.conversation,
                        placed.message,
                        refused.reason,
                        refused.message,
                        _field(placed.message, refused.field),
                    )
                )
        return refusals

    async def log_feedback(
        self, tenant: str, feedback: Sequence[tuple[int, ExplicitFeedback]]
    ) -> tuple[list[str], list[Refused]]:
        """`feedback`: each with its place in the batch."""
        self._quota.turns(tenant, len(feedback))
        ids, refused = await self._sink.log_feedback(tenant, [one for _, one in feedback])
        return ids, [replace(one, position=feedback[one.position][0]) for one in refused]

    async def log_opinions(
        self, tenant: str, opinions: Sequence[tuple[int, ExplicitFeedback | Assessment]]
    ) -> list[Refused]:
        """People's as feedback, evaluators' as assessments, each with its place in the batch. Returns what was
        refused."""
        people = [(at, one) for at, one in opinions if isinstance(one, ExplicitFeedback)]
        evaluators = [(at, one) for at, one in opinions if isinstance(one, Assessment)]
        refused: list[Refused] = []
        if people:
            refused += (await self.log_feedback(tenant, people))[1]
        if evaluators:
            refused += await self.log_assessments(tenant, evaluators)
        return refused

    async def log_assessments(
        self, tenant: str, assessments: Sequence[tuple[int, Assessment]]
    ) -> list[Refused]:
        """`assessments`: each with its place in the batch."""
        self._quota.turns(tenant, len(assessments))
        refused = await self._sink.log_assessments(tenant, [one for _, one in assessments])
        return [replace(one, position=assessments[one.position][0]) for one in refused]

    async def log_preferences(
        self, tenant: str, preferences: Sequence[tuple[int, Pair]]
    ) -> tuple[list[str], list[Refused]]:
        """`preferences`: each with its place in the batch."""
        self._quota.turns(tenant, len(preferences))
        ids, refused = await self._sink.log_preferences(tenant, [one for _, one in preferences])
        return ids, [replace(one, position=preferences[one.position][0]) for one in refused]


def _field(message: int, field: str) -> str:
    """Interaction's field of a turn, as a path in the caller's document."""
    place = f"messages[{message}]"
    inside = field == "message" or field.startswith("message.")
    return place + field.removeprefix("message") if inside else f"{place}.{field}"


def _calls(turns: Sequence[PlacedTurn]) -> list[list[PlacedTurn]]:
    """Cut so that each call stays well below the size a message may have."""
    calls: list[list[PlacedTurn]] = []
    size = _CALL_CHARS
    for placed in turns:
        chars = len(placed.turn.message.text)
        if size + chars > _CALL_CHARS or len(calls[-1]) >= _CALL_TURNS:
            calls.append([])
            size = 0
        calls[-1].append(placed)
        size += chars
    return calls
