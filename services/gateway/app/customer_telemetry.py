"""Customers' GenAI telemetry: spans and log records become turns, feedback and assessments, durable before the
answer.

Other telemetry is ignored and counted. What cannot be read is refused with its reason; the rest is accepted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from services.gateway.app.answers import NewestAnswers
from services.gateway.app.ingesting import Ingesting, RefusedMessage
from services.gateway.app.linking import Linker
from services.gateway.app.newest import Newest
from services.gateway.app.reported_calls import ReportedCall, ReportedCalls
from services.gateway.domain.conventions.semconv import DETAILS
from services.gateway.domain.evaluations import EVALUATION, Opinion, read_evaluation
from services.gateway.domain.facts import SpanFacts, facts_of
from services.gateway.domain.genai import read_choice, read_event
from services.gateway.domain.instructions import instructions_in, instructions_of_event
from services.gateway.domain.spans import Extracted, read_details, read_span, turns_of
from services.gateway.domain.telemetry import Event, Span, Unread, time_of
from shared.language.attempts import attempted
from shared.language.errors import InvalidArgument, TrimtabError
from shared.language.messages import Message
from shared.language.turns import Turn

Sent = TypeVar("Sent", Span, Event)
_CHOICE = "gen_ai.choice"
_MOST_WARNINGS = 10


@dataclass(frozen=True, slots=True)
class RefusedItem:
    """A span or log record that was refused. `name` is its span's id, `place` its number."""

    place: int
    name: str
    reason: str
    text: str
    field: str

    def __str__(self) -> str:
        return f"[{self.place}] {self.name}: {self.reason} at {self.field or '-'}: {self.text}"


@dataclass(frozen=True, slots=True)
class Outcome:
    refused: tuple[RefusedItem, ...] = ()
    # Something that the sender should know even if nothing was refused.
    warning: str = ""

    def message(self, most: int = 10) -> str:
        """At most `most` reasons, in words."""
        said = [str(one) for one in self.refused[:most]]
        if len(self.refused) > most:
            said.append(f"and {len(self.refused) - most} more")
        return "\n".join([*said, *([self.warning] if self.warning else [])])


@dataclass(slots=True)
class _Known:
    """What is remembered of a span, as the span and its log records are sent separately."""

    facts: SpanFacts | None = None
    instructions: str = ""
    # What its log records said so far, one message each, and the first of these.
    messages: list[Message] = field(default_factory=list)
    first: Event | None = None
    answered: bool = False

    @property
    def started(self) -> bool:
        return self.first is not None


class _Memory:
    """The newest spans, by tenant, trace and span. Older ones are forgotten, as if they had never come."""

    def __init__(self, most: int) -> None:
        self._known: Newest[tuple[str, str], _Known] = Newest(most)

    def of(self, tenant: str, trace_id: str, span_id: str) -> _Known:
        found = self._known.get(tenant, (trace_id, span_id)) or _Known()
        self._known.put(tenant, (trace_id, span_id), found)
        return found


class CustomerTelemetry:
    """`spans` and `logs` return once Kafka holds what was accepted. Unavailable if any of it could not be
    written; the same export sent again counts once."""

    def __init__(
        self,
        ingesting: Ingesting,
        linker: Linker,
        remembered_spans: int = 20_000,
        answers: NewestAnswers | None = None,
    ) -> None:
        self._ingesting, self._reported = ingesting, ReportedCalls(linker)
        self._answers = answers or NewestAnswers(remembered_spans)
        self._memory = _Memory(remembered_spans)
        # By signal ("spans", "logs") and outcome, since the process started.
        self.counts: Counter[tuple[str, str]] = Counter()
        # Calls to models in spans by convention, and whether they were "read" or "without_content".
        self.calls: Counter[tuple[str, str]] = Counter()

    async def spans(self, tenant: str, spans: Sequence[Span | Unread]) -> Outcome:
        """What could not be read is given as its error."""
        batch = self._batch(tenant, "spans", partial(self._span, tenant), spans)
        self.counts["spans", "without_content"] += batch.advised.total()
        return await self._send(tenant, batch, [span.span_id for span in spans])

    async def logs(self, tenant: str, events: Sequence[Event | Unread]) -> Outcome:
        batch = self._batch(tenant, "logs", partial(self._event, tenant), events)
        batch.calls += self._unfinished(tenant, batch)
        return await self._send(tenant, batch, [event.span_id for event in events])

    def _batch(
        self,
        tenant: str,
        signal: str,
        read: Callable[[Sent], Extracted | None],
        items: Sequence[Sent | Unread],
    ) -> _Batch:
        """`read` returns None for other telemetry."""
        batch = _Batch(signal)
        for place, item in enumerate(items):
            found = item.error if isinstance(item, Unread) else attempted(read, item)
            if found is None:
                self.counts[signal, "ignored"] += 1
            elif isinstance(found, TrimtabError):
                batch.refuse(place, item.span_id, found)
            else:
                batch.add(place, found)
                if found.convention:
                    outcome = "without_content" if found.advice else "read"
                    self.calls[found.convention, outcome] += 1
                self._note(tenant, batch, place, item, found.turns)
        return batch

    def _note(
        self,
        tenant: str,
        batch: _Batch,
        place: int,
        item: Span | Event | Unread,
        turns: Sequence[Turn],
    ) -> None:
        """Keeps the turns of a call until its place is known."""
        if isinstance(item, Unread):
            return
        batch.at[place] = (item.trace_id, item.span_id)
        if turns:
            known = self._memory.of(tenant, item.trace_id, item.span_id)
            batch.calls.append(
                ReportedCall(place, item.trace_id, item.span_id, tuple(turns), known.instructions)
            )

    def _span(self, tenant: str, span: Span) -> Extracted | None:
        taken = read_span(span, tenant)
        if taken is None:
            return None
        known = self._memory.of(tenant, span.trace_id, span.span_id)
        known.facts = facts_of(span.attributes, span.resource, span.trace_id)
        known.instructions = instructions_in(span) or known.instructions
        # Its messages may have come as log records.
        return replace(taken, advice="") if known.started else taken

    def _event(self, tenant: str, event: Event) -> Extracted | None:
        if not event.name.startswith("gen_ai."):
            return None
        if event.name == EVALUATION:
            return Extracted(opinions=(read_evaluation(event),))
        if event.name == DETAILS:
            known = self._memory.of(tenant, event.trace_id, event.span_id)
            known.instructions = instructions_of_event(event) or known.instructions
            return read_details(event, tenant)
        return self._message(tenant, event)

    def _unfinished(self, tenant: str, batch: _Batch) -> Iterator[ReportedCall]:
        """Calls whose answer's log record did not come yet."""
        for (trace_id, span_id), place in {at: place for place, at in batch.at.items()}.items():
            known = self._memory.of(tenant, trace_id, span_id)
            if known.first is None or known.answered or not known.messages:
                continue
            turns = attempted(partial(self._exchange, tenant, known.first, known), None)
            if turns and not isinstance(turns, TrimtabError):
                said = known.instructions
                yield ReportedCall(place, trace_id, span_id, turns, said, unfinished=True)

    def _message(self, tenant: str, event: Event) -> Extracted:
        """One message of a call. Their place is known once the answer came: records of a span arrive in order,
        in one export or in several to the same gateway."""
        known = self._memory.of(tenant, event.trace_id, event.span_id)
        body = event.body if event.body is not None else event.attributes
        if event.name != _CHOICE:
            known.first = known.first or event
            message = read_event(event.name, body, "body")
            if message is not None:
                known.messages.append(message)
            else:
                known.instructions = known.instructions or instructions_of_event(event)
            return Extracted()
        if not known.started:
            raise InvalidArgument(
                "the answer came without the messages that led to it: their log records went"
                " elsewhere, or came too long ago",
                reason="SPAN_CUT",
                field="event_name",
            )
        answer = read_choice(body, "body")
        known.answered = known.answered or answer is not None
        return Extracted(self._exchange(tenant, event, known, answer) if answer else ())

    def _exchange(
        self, tenant: str, event: Event, known: _Known, answer: Message | None
    ) -> tuple[Turn, ...]:
        facts = known.facts or facts_of(event.attributes, event.resource, event.trace_id)
        traced = {"trace_id": event.trace_id, "span_id": event.span_id}
        began = known.first.time_ns if known.first else event.time_ns
        times = (time_of(began), time_of(event.time_ns))
        said = [*known.messages, *([answer] if answer else [])]
        return turns_of(said, len(known.messages), facts, tenant, times, traced)

    async def _send(self, tenant: str, batch: _Batch, names: Sequence[str]) -> Outcome:
        refused = list(batch.refused)
        for one in await self._log_calls(tenant, batch.calls):
            name = names[one.conversation]
            refused.append(RefusedItem(one.conversation, name, one.reason, one.text, one.field))
        opinions = [(at, self._directed(tenant, one, *batch.at[at])) for at, one in batch.opinions]
        refused += [
            RefusedItem(one.position, names[one.position], one.reason, one.message, one.field)
            for one in await self._ingesting.log_opinions(tenant, opinions)
        ]
        firsts = {one.place: one for one in reversed(refused)}
        self.counts[batch.signal, "refused"] += len(firsts)
        self.counts[batch.signal, "taken"] += len(batch.places - firsts.keys())
        return Outcome(tuple(firsts[place] for place in sorted(firsts)), batch.warning())

    async def _log_calls(self, tenant: str, calls: Sequence[ReportedCall]) -> list[RefusedMessage]:
        if not calls:
            return []
        async with self._reported.turn_of(tenant):
            placed = await self._reported.placed(tenant, calls)
            for one in placed.turns:
                self._answers.note(one.turn)
            refused = await self._ingesting.log_conversations(tenant, placed.turns)
            bad = {one.conversation for one in refused}
            self._reported.remember([link for place, link in placed.links if place not in bad])
        return [*placed.refused, *refused]

    def _directed(self, tenant: str, opinion: Opinion, trace_id: str, span_id: str) -> Opinion:
        """An opinion on a trace is one on the conversation in which its call was put."""
        if not trace_id or opinion.conversation_id != trace_id:
            return opinion
        answer = self._answers.find(tenant, trace_id, span_id)
        return replace(opinion, conversation_id=answer.conversation_id) if answer else opinion


class _Batch:
    """What one export contains, each item with its place in it."""

    def __init__(self, signal: str) -> None:
        self.signal = signal
        self.calls: list[ReportedCall] = []
        # By item's place: its trace and span.
        self.at: dict[int, tuple[str, str]] = {}
        self.opinions: list[tuple[int, Opinion]] = []
        self.refused: list[RefusedItem] = []
        self.places: set[int] = set()
        # How many calls to models could not be logged, by convention and what their sender can do.
        self.advised: Counter[tuple[str, str]] = Counter()

    def add(self, place: int, taken: Extracted) -> None:
        self.places.add(place)
        if taken.advice:
            self.advised[taken.convention, taken.advice] += 1
        self.opinions += [(place, one) for one in taken.opinions]

    def warning(self) -> str:
        said = [
            f"not logged: model calls in the convention {name} ({count}): {advice}"
            for (name, advice), count in self.advised.items()
        ]
        return "\n".join(said[:_MOST_WARNINGS])

    def refuse(self, place: int, name: str, error: TrimtabError) -> None:
        refused = RefusedItem(place, name, error.reason, error.message, error.field)
        self.refused.append(refused)
