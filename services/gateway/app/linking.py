"""Links calls into conversations (the rules are in domain/linking.py and domain/placing.py)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from weakref import WeakSet

from services.gateway.domain.chat import Chat
from services.gateway.domain.link_index import LinkIndex
from services.gateway.domain.linking import (
    Call,
    Link,
    Question,
    chain_on,
    mark_of,
    question_of,
)
from services.gateway.domain.placing import CallPosition, position_of
from services.gateway.ports import Links
from shared.language.batches import batches
from shared.language.identifiers import stable_id
from shared.language.messages import Message
from shared.language.turns import Turn

# How many reported calls are looked up together.
_TOGETHER = 32


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Linked:
    """A call and its position in a conversation."""

    question: Question
    position: CallPosition

    @property
    def conversation_id(self) -> str:
        return self.position.conversation_id


class Linker:
    """`secret` keys the digests; gateways that share links share it."""

    def __init__(self, links: Links, secret: bytes, clock: Callable[[], datetime]) -> None:
        self._links, self._secret, self._clock = links, secret, clock
        # Calls of named conversations that are being answered: each leaves with its exchange, however it ends.
        self._open = WeakSet[Linked]()

    async def link(self, chat: Chat) -> Linked:
        """The conversation that `chat` continues, or a new one."""
        question = question_of(self._secret, chat.call)
        links = await self._found(question)
        links = [*links, *self._answering(question)] if question.name else links
        linked = Linked(question, position_of(question, links, self._clock()))
        if not linked.conversation_id:
            linked = in_conversation(linked, f"chat-{secrets.token_hex(12)}")
        if question.name:
            self._open.add(linked)
        return linked

    async def known(self, calls: Sequence[Call]) -> list[tuple[Question, list[Link]]]:
        """What is known of calls, a few at a time, so that no chat waits long for its own."""
        known: list[tuple[Question, list[Link]]] = []
        for some in batches([question_of(self._secret, call) for call in calls], _TOGETHER):
            known += zip(some, await asyncio.gather(*map(self._found, some)), strict=True)
        return known

    def position(
        self, question: Question, links: Sequence[Link], at: datetime, beside: LinkIndex
    ) -> Linked:
        """The position of a call that was made at `at`, without an id if its conversation is new. `beside`:
        links that are not remembered yet."""
        if more := beside.found(question):
            links = sorted([*links, *more], key=lambda link: link.made)
        return Linked(question, position_of(question, links, at))

    async def _found(self, question: Question) -> list[Link]:
        return await self._links.find(question) if question.may_be_linked else []

    def sibling_id(self, linked: Linked, index: int, answer: Message, completion_id: str) -> str:
        """The turn id of an answer made instead of another. Without the secret it tells nothing about the
        content. It differs for each completion, so that feedback can refer to one with the same content."""
        said = chain_on(self._secret, linked.question.history, answer)
        return f"{index:06d}-{stable_id(said, completion_id)[:10]}"

    def remember(self, linked: Linked, kept: Sequence[Turn], answers: Sequence[Message]) -> None:
        """`kept`: the turns of the exchange as they were logged, the answers last; `answers`: the answers as
        the client got them, which is what it will send again."""
        for link in self.links_of(linked, kept, answers, self._clock()):
            self.add(link)

    def add(self, link: Link) -> None:
        self._links.remember(link)

    def links_of(
        self, linked: Linked, kept: Sequence[Turn], answers: Sequence[Message], made: datetime
    ) -> list[Link]:
        """What `remember` remembers."""
        replied = kept[len(kept) - len(answers) :]
        asked = kept[: len(kept) - len(answers)]
        asked_turn_id = asked[-1].turn_id if asked else linked.position.asked_turn_id
        return [
            self._link(linked, said, logged, asked_turn_id, made)
            for said, logged in zip(answers, replied, strict=True)
        ]

    def _answering(self, question: Question) -> list[Link]:
        """Links of the calls under the same name that this process is answering."""
        return [
            Link(
                tenant=question.tenant,
                history=one.question.history,
                answered="",
                parent=one.question.parent,
                conversation_id=one.conversation_id,
                asked_turn_id="",
                answer_turn_id="",
                made=self._clock(),
                thread=one.question.thread,
                place=one.question.count + one.position.offset,
                carried=one.question.count,
                voice=one.question.voice,
                request_id=one.question.request_id,
                aside=one.position.aside,
            )
            for one in sorted(self._open, key=lambda one: one.question.count + one.position.offset)
            if one.question.thread == question.thread
        ]

    def _link(
        self, linked: Linked, said: Message, logged: Turn, asked_turn_id: str, made: datetime
    ) -> Link:
        question = linked.question
        thread = question.thread if question.known else ""
        return Link(
            tenant=logged.tenant,
            history=question.history,
            answered=chain_on(self._secret, question.history, said),
            parent=question.parent,
            conversation_id=linked.conversation_id,
            asked_turn_id=asked_turn_id,
            answer_turn_id=logged.turn_id,
            made=made,
            thread=thread,
            asked=question.asked,
            said=mark_of(self._secret, thread, said) if thread else "",
            before=question.said,
            place=logged.index,
            carried=question.count,
            voice=question.voice,
            model_version=logged.model_version,
            completion_id=logged.completion_id,
            request_id=question.request_id,
            aside=linked.position.aside,
        )


def in_conversation(linked: Linked, conversation_id: str) -> Linked:
    """The call in a new conversation of that id."""
    position = replace(linked.position, conversation_id=conversation_id)
    return Linked(linked.question, position)
