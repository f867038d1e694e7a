"""Links stateless calls into conversations (the rules are in domain.linking)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.gateway.domain.chat import Chat
from services.gateway.domain.linking import (
    CallPosition,
    Link,
    Question,
    chain_on,
    position_of,
    question_of,
)
from services.gateway.ports import Links
from shared.language.identifiers import stable_id
from shared.language.messages import Message
from shared.language.turns import Turn


@dataclass(frozen=True, slots=True)
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

    async def link(self, chat: Chat) -> Linked:
        """The conversation that `chat` continues, or a new one. A named one takes precedence. A call that the
        client library repeats by itself is no signal."""
        question = question_of(
            self._secret, chat.tenant, chat.speaker, chat.named_conversation, chat.messages
        )
        links = await self._links.find(question) if question.may_be_linked else []
        position = position_of(question, links, self._clock())
        if chat.repeated:
            position = replace(position, signal="")
        if chat.named_conversation or not position.conversation_id:
            made = chat.named_conversation or f"chat-{secrets.token_hex(12)}"
            position = replace(position, conversation_id=made)
        return Linked(question, position)

    def sibling_id(self, linked: Linked, index: int, answer: Message, completion_id: str) -> str:
        """The turn id of an answer made instead of another. Without the secret it tells nothing about the
        content. It differs for each completion, so that feedback can refer to one with the same content."""
        said = chain_on(self._secret, linked.question.history, answer)
        return f"{index:06d}-{stable_id(said, completion_id)[:10]}"

    def remember(self, linked: Linked, kept: Sequence[Turn], answers: Sequence[Message]) -> None:
        """`kept`: the turns of the exchange as they were logged, the answers last; `answers`: the answers as
        the client got them, which is what it will send again."""
        question, replied = linked.question, kept[len(kept) - len(answers) :]
        asked = kept[: len(kept) - len(answers)]
        asked_turn_id = asked[-1].turn_id if asked else linked.position.asked_turn_id
        for said, logged in zip(answers, replied, strict=True):
            link = Link(
                tenant=logged.tenant,
                history=question.history,
                answered=chain_on(self._secret, question.history, said),
                parent=question.parent,
                conversation_id=linked.conversation_id,
                asked_turn_id=asked_turn_id,
                answer_turn_id=logged.turn_id,
                made=self._clock(),
            )
            self._links.remember(link)
