"""An application's calls, one after the other, and what the gateway logs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from services.gateway.domain.chat import Chat, asked_turns
from services.gateway.domain.link_index import LinkIndex
from services.gateway.domain.linking import Call, Link, chain_on, mark_of, question_of
from services.gateway.domain.placing import REGENERATION, position_of
from shared.language.messages import Message, text_message
from shared.language.turns import Turn

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = b"key"
# Index, text, signal.
Said = tuple[int, str, str]


@dataclass
class Talk:
    """Calls as an application makes them, and what the gateway logs of them. Texts are the user's
    and the model's in turn, the user's last."""

    user: str = "ada"
    name: str = ""
    now: datetime = NOON
    links: LinkIndex = field(default_factory=LinkIndex)
    logged: dict[str, list[Turn]] = field(default_factory=dict)
    calls: int = 0

    def say(
        self,
        *texts: str,
        answer: str,
        system: str = "",
        version: str = "v1",
        request: str = "",
        repeated: bool = False,
    ) -> str:
        """The conversation's id."""
        self.calls += 1
        self.now += timedelta(seconds=20)
        messages = spoken(texts)
        call = Call("local", self.user, self.name, messages, system, request, repeated)
        question = question_of(KEY, call)
        links = self.links.found(question) if question.may_be_linked else []
        position = position_of(question, links, self.now)
        conversation = position.conversation_id or f"new-{self.calls}"
        chat = Chat("local", "digest", self.user, self.name, messages, {})
        asked = asked_turns(
            chat, conversation, position, channel="test", time=self.now, policy="assistant"
        )
        said = text_message("assistant", answer)
        index = len(messages) + position.offset
        signal = position.signal if position.signal == REGENERATION else ""
        reply = Turn("local", conversation, index, said, self.user, signal=signal)
        self.logged.setdefault(conversation, []).extend([*asked, reply])
        thread = question.thread if question.known else ""
        self.links.remember(
            Link(
                tenant="local",
                history=question.history,
                answered=chain_on(KEY, question.history, said),
                parent=question.parent,
                conversation_id=conversation,
                asked_turn_id=f"asked-{self.calls}",
                answer_turn_id=f"answer-{self.calls}",
                made=self.now,
                thread=thread,
                asked=question.asked,
                said=mark_of(KEY, thread, said) if thread else "",
                before=question.said,
                place=index,
                carried=question.count,
                voice=question.voice,
                model_version=version,
                completion_id=f"completion-{self.calls}",
                request_id=request,
                aside=position.aside,
            )
        )
        return conversation

    def stored(self, conversation: str) -> list[Said]:
        """What the conversation holds, each turn once."""
        turns = self.logged.get(conversation, [])
        return sorted({(one.index, one.message.text, one.signal) for one in turns})


def spoken(texts: Sequence[str]) -> tuple[Message, ...]:
    roles = ["user" if (len(texts) - place) % 2 else "assistant" for place in range(len(texts))]
    return tuple(text_message(role, text) for role, text in zip(roles, texts, strict=True))
