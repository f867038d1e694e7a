"""Links calls that were reported over OpenTelemetry into conversations, by the rules by which chats are linked.

A call comes as turns at their places in the request, with the conversation that it names, otherwise its
trace. It leaves as the turns that its conversation lacks, at their places there.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from services.gateway.app.ingesting import PlacedTurn, RefusedMessage
from services.gateway.app.linking import Linked, Linker, in_conversation
from services.gateway.domain.facts import nobody
from services.gateway.domain.link_index import LinkIndex
from services.gateway.domain.linking import Call, Link, Question
from services.gateway.domain.placing import REGENERATION
from shared.language.attempts import attempted
from shared.language.errors import TrimtabError, Unavailable
from shared.language.turns import Turn

K = TypeVar("K")
_EARLIEST = datetime.min.replace(tzinfo=UTC)
# How many traces are known that gave their id to a conversation.
_TRACES = 50_000
# How long an export waits for those of its tenant before it, in seconds: less than exporters wait.
_TURN_S = 5.0


@dataclass(frozen=True, slots=True)
class ReportedCall:
    """`place`: its item's in the export. `turns`: the history that it carried, and its answer if it has one,
    which is the turn that names its span."""

    place: int
    trace_id: str
    span_id: str
    turns: tuple[Turn, ...]
    instructions: str = ""
    # More of its messages may come.
    unfinished: bool = False

    @property
    def answer(self) -> Turn | None:
        last = self.turns[-1]
        return last if last.role == "assistant" and "span_id" in last.metadata else None

    @property
    def asked(self) -> tuple[Turn, ...]:
        return self.turns[:-1] if self.answer else self.turns

    @property
    def began(self) -> datetime:
        return self.asked[0].create_time or _EARLIEST if self.asked else _EARLIEST

    @property
    def ended(self) -> datetime:
        answer = self.answer
        return (answer.create_time if answer else None) or self.began

    @property
    def user_id(self) -> str:
        """Empty if nobody is named."""
        first = self.turns[0]
        return "" if first.user_id == nobody(first.conversation_id) else first.user_id

    def call(self) -> Call:
        first, answer = self.turns[0], self.answer
        named = "" if first.conversation_id == self.trace_id else first.conversation_id
        return Call(
            tenant=first.tenant,
            speaker=self.user_id,
            conversation=named,
            messages=tuple(turn.message for turn in self.asked),
            instructions=self.instructions,
            request_id=f"{self.trace_id}:{self.span_id}" if self.span_id else "",
            completion_id=answer.completion_id if answer else "",
            answer=answer.message if answer else None,
            unfinished=self.unfinished,
        )


@dataclass(slots=True)
class Placed:
    """Turns at their places in conversations, and the links to remember once they are kept; what could not be
    placed. Each with its item's place in the export."""

    turns: list[PlacedTurn] = field(default_factory=list)
    links: list[tuple[int, Link]] = field(default_factory=list)
    refused: list[RefusedMessage] = field(default_factory=list)


class ReportedCalls:
    """Used on one event loop."""

    def __init__(self, linker: Linker) -> None:
        self._linker = linker
        self._turns = WeakValueDictionary[str, asyncio.Lock]()
        # By tenant and trace: the span that began the conversation named after the trace.
        self._began: OrderedDict[tuple[str, str], str] = OrderedDict()

    @asynccontextmanager
    async def turn_of(self, tenant: str) -> AsyncIterator[None]:
        """One export of a tenant after the other, as a call may continue from one in the export before.
        Unavailable if it takes too long."""
        lock = self._turns.setdefault(tenant, asyncio.Lock())
        try:
            async with asyncio.timeout(_TURN_S):
                await lock.acquire()
        except TimeoutError as error:
            raise Unavailable(
                "earlier exports are still being logged; send again", retry_after_s=1.0
            ) from error
        try:
            yield
        finally:
            lock.release()

    async def placed(self, tenant: str, calls: Sequence[ReportedCall]) -> Placed:
        """In the order in which the calls were made, whatever their order in the export."""
        found, beside = Placed(), LinkIndex()
        order = sorted(calls, key=lambda one: (one.began, len(one.turns)))
        known = await self._linker.known([call.call() for call in order])
        for call, (question, links) in zip(order, known, strict=True):
            made = attempted(partial(self._place, tenant, question, links, beside), call)
            if isinstance(made, TrimtabError):
                one = RefusedMessage(call.place, None, made.reason, made.message, made.field)
                found.refused.append(one)
                continue
            turns, new = made
            found.turns += turns
            for link in new:
                beside.remember(link)
                found.links.append((call.place, link))
        return found

    def _place(
        self,
        tenant: str,
        question: Question,
        links: Sequence[Link],
        beside: LinkIndex,
        call: ReportedCall,
    ) -> tuple[list[PlacedTurn], list[Link]]:
        linked = self._linker.position(question, links, call.ended, beside)
        if call.unfinished and _may_continue(linked, links):
            return [], []
        linked = self._named(tenant, call, linked)
        turns = list(_turns(call, linked, self._linker))
        return turns, self._links(call, linked, [one.turn for one in turns])

    def remember(self, links: Sequence[Link]) -> None:
        for link in links:
            self._linker.add(link)

    def _named(self, tenant: str, call: ReportedCall, linked: Linked) -> Linked:
        """A trace's first new conversation has the trace's id. The same export, sent again, gives the same
        ids."""
        trace, span = call.trace_id, call.span_id
        if not linked.conversation_id:
            mine = _kept(self._began, (tenant, trace), span) == span
            own = f"{trace}-{span}" if trace and span else f"call-{linked.question.history}"
            linked = in_conversation(linked, trace if trace and mine else own)
        return linked

    def _links(self, call: ReportedCall, linked: Linked, turns: Sequence[Turn]) -> list[Link]:
        answer = call.answer
        if answer is None or linked.position.repeated:
            return []
        kept = [replace(turn, turn_id=turn.id) for turn in turns]
        return self._linker.links_of(linked, kept, [answer.message], call.ended)


def _may_continue(linked: Linked, links: Sequence[Link]) -> bool:
    """Whether messages that are not all there may be what a conversation has already: its beginning, say."""
    question, position = linked.question, linked.position
    known = {question.history, *question.prefixes}
    return bool(position.told or position.offset) or any(
        link.history in known or link.answered in known for link in links
    )


def _turns(call: ReportedCall, linked: Linked, linker: Linker) -> Iterator[PlacedTurn]:
    """What the conversation lacks."""
    position = linked.position
    if position.repeated:
        return
    conversation = linked.conversation_id
    user_id = call.user_id or nobody(conversation)
    last = len(call.asked) - 1
    for place, turn in enumerate(call.turns):
        if place < position.told:
            continue
        index = place + position.offset
        here = replace(turn, conversation_id=conversation, index=index, user_id=user_id)
        made = position.answered.get(place)
        if made is not None and place <= last:
            version, completion = made.model_version, made.completion_id
            here = replace(here, model_version=version, completion_id=completion)
        if position.signal and place == (last + 1 if position.signal == REGENERATION else last):
            here = replace(here, signal=position.signal, replaces_turn_id=position.replaces_turn_id)
        if position.signal == REGENERATION and place > last:
            one = here.completion_id or call.span_id
            here = replace(here, turn_id=linker.sibling_id(linked, index, here.message, one))
        yield PlacedTurn(call.place, place, here)


def _kept(held: OrderedDict[K, str], key: K, value: str) -> str:
    """The value of the key, which is set if it has none."""
    found = held.setdefault(key, value)
    held.move_to_end(key)
    while len(held) > _TRACES:
        held.popitem(last=False)
    return found
