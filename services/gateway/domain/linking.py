"""Conversations from stateless calls: a chain of keyed digests over the history that each call carries.

h_0 = H(tenant, who), h_i = H(h_{i-1}, role_i, content_i). After an answer the chain over history and
answer is remembered; a later call whose history begins with a remembered chain continues that conversation.
System messages are left out: they are not part of a conversation, and often contain the time.

Differences from a plain chain: h_0 also contains the user, or the conversation if it is named, so that two of
them are never mixed up. Callers that name neither are told apart as far as their words differ: a first
message of an unnamed caller always begins a conversation, even if others began with the same words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.language.messages import Message, content_of

REGENERATION, EDIT = "regeneration", "edit"
# How many of the latest answers are looked up.
_ANSWERS_ASKED_FOR = 16
# If a named user sends their first message again within this time, it asks for another answer. Later it begins
# a new conversation with the same words ("hi").
_AGAIN_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Link:
    """One answered call. `parent` is the chain up to the answer that the last message followed; empty if more
    than that message came after it, or none was known."""

    tenant: str
    history: str
    answered: str
    parent: str
    conversation_id: str
    asked_turn_id: str
    answer_turn_id: str
    made: datetime


@dataclass(frozen=True, slots=True)
class Question:
    """What a call is linked by. `chain[i]` is the digest over its first i messages."""

    chain: tuple[str, ...]
    # Lengths of the prefixes that end with an answer, the longest first.
    answers: tuple[int, ...]
    # Whether a user or a conversation is named.
    known: bool
    # Whether the last message is the user's and directly follows the last answer.
    follows: bool

    @property
    def history(self) -> str:
        return self.chain[-1]

    @property
    def parent(self) -> str:
        """The chain up to the last answer, if the last message follows on it."""
        return self.chain[self.answers[0]] if self.follows else ""

    @property
    def prefixes(self) -> tuple[str, ...]:
        return tuple(self.chain[length] for length in self.answers)

    @property
    def may_be_linked(self) -> bool:
        """The first message of an unnamed caller never is."""
        return self.known or bool(self.answers)


@dataclass(frozen=True, slots=True)
class CallPosition:
    """A call's position: its first `told` messages are part of the conversation already."""

    conversation_id: str = ""
    told: int = 0
    signal: str = ""
    replaces_turn_id: str = ""
    # The turn of the last message, if this history was answered before.
    asked_turn_id: str = ""


def question_of(
    secret: bytes, tenant: str, user_id: str, conversation_id: str, messages: Sequence[Message]
) -> Question:
    """`user_id` and `conversation_id` are empty if the call names none. A conversation takes precedence."""
    named = ("conversation", conversation_id) if conversation_id else ("user", user_id)
    chain = [_digest(secret, "", tenant, *named)]
    for message in messages:
        chain.append(_digest(secret, chain[-1], message.role, content_of(message)))
    count = len(messages)
    answers = [place + 1 for place in range(count - 1) if messages[place].role == "assistant"]
    follows = bool(answers) and answers[-1] == count - 1 and messages[-1].role == "user"
    return Question(
        chain=tuple(chain),
        answers=tuple(reversed(answers[-_ANSWERS_ASKED_FOR:])),
        known=bool(user_id or conversation_id),
        follows=follows,
    )


def chain_on(secret: bytes, history: str, answer: Message) -> str:
    """The chain over a history and its answer."""
    return _digest(secret, history, answer.role, content_of(answer))


def position_of(question: Question, links: Sequence[Link], now: datetime) -> CallPosition:
    """`links`: what `Links.find` returned, oldest first."""
    again = [link for link in links if link.history == question.history]
    told, before = _continued(question, links)
    followed = {link.conversation_id: link for link in links if _follows(question, link)}
    waiting = [link for link in before if link.conversation_id not in followed]
    if again and _regenerates(question, again[-1], links, now):
        # Another unnamed caller, whose words have been the same so far, may be continuing here.
        if question.known or not waiting:
            return _regeneration(question, again[-1])
        again = []
    if not before:
        return CallPosition()
    last = before[-1] if question.known or not waiting else waiting[-1]
    replaced = followed.get(last.conversation_id)
    if replaced is None or told != len(question.chain) - 2:
        return CallPosition(last.conversation_id, told)
    return CallPosition(last.conversation_id, told, EDIT, replaced.asked_turn_id)


def _continued(question: Question, links: Sequence[Link]) -> tuple[int, list[Link]]:
    """The longest prefix that ends with a remembered answer, and the links that answered it."""
    for told in question.answers:
        found = [link for link in links if link.answered == question.chain[told]]
        if found:
            return told, found
    return 0, []


def _follows(question: Question, link: Link) -> bool:
    return bool(link.parent) and link.parent == question.parent


def _regenerates(question: Question, last: Link, links: Sequence[Link], now: datetime) -> bool:
    if question.answers:
        return True
    went_on = any(link.parent == last.answered for link in links)
    return question.known and not went_on and now - last.made <= _AGAIN_WITHIN


def _regeneration(question: Question, last: Link) -> CallPosition:
    return CallPosition(
        conversation_id=last.conversation_id,
        told=len(question.chain) - 1,
        signal=REGENERATION,
        replaces_turn_id=last.answer_turn_id,
        asked_turn_id=last.asked_turn_id,
    )


def _digest(secret: bytes, *parts: str) -> str:
    """Keyed, so that nobody who reads the digests can test guesses of what was said."""
    digest = hashlib.blake2b(digest_size=16, key=secret[:64])
    for part in parts:
        coded = part.encode()
        digest.update(b"%d:%b" % (len(coded), coded))
    return digest.hexdigest()
