"""What calls are linked by: keyed digests of what they carry and of what was answered. CONVERSATIONS.md has the
rules in words; domain/placing.py applies them.

h_0 = H(tenant, who), h_i = H(h_{i-1}, role_i, content_i) is the chain over the history that a call carries.
After an answer the chain over history and answer is remembered; a later call whose history begins with a
remembered chain continues that conversation. `who` is the conversation if the call names one, otherwise the
user, so that two of them are never mixed up; callers that name neither share one h_0.

System messages are not part of a conversation and often contain the time, so that they are not in the chain.
Only how they begin is kept, as the call's `voice`: it tells side calls (titles, tags, routing) from the chat.
Marks are digests of single messages: they find the place of a call that carries only the end of its history.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.language.messages import Message, content_of

# How many of the latest answers are looked up.
_ANSWERS_ASKED_FOR = 16
# How much of the system messages makes a voice, in characters.
_VOICE_CHARS = 64
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Call:
    """A call to a model as far as linking needs it. `speaker` and `conversation` are empty if it names none."""

    tenant: str
    speaker: str
    conversation: str
    # Without system messages.
    messages: tuple[Message, ...]
    # The text of its system messages.
    instructions: str = ""
    # Names the request: the same if it is sent, or reported, again.
    request_id: str = ""
    # The client library says that it sends a request again.
    repeated: bool = False
    # Both known only of a call that was answered before it is linked.
    completion_id: str = ""
    answer: Message | None = None
    # More messages may come.
    unfinished: bool = False
    # Who is asked; empty if that is not known.
    policy: str = ""


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
    # h_0, and the marks of the last message, the answer, and the answer before; empty for unnamed callers.
    thread: str = ""
    asked: str = ""
    said: str = ""
    before: str = ""
    # The answer's index in the conversation (-1 if an older version wrote it), and how many messages the call
    # carried.
    place: int = -1
    carried: int = 0
    voice: str = ""
    model_version: str = ""
    completion_id: str = ""
    request_id: str = ""
    # A side call: its conversation is its own.
    aside: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the call is being answered."""
        return not self.answer_turn_id

    @property
    def is_cut(self) -> bool:
        """Whether the call carried less than the conversation."""
        return self.place > self.carried

    def offset(self, count: int) -> int:
        """From a place among the `count` messages before the answer to the index in the conversation."""
        return self.place - count if self.place >= 0 else 0


@dataclass(frozen=True, slots=True)
class Question:
    """What a call is linked by. `chain[i]` is the digest over its first i messages."""

    tenant: str
    chain: tuple[str, ...]
    # Lengths of the prefixes that end with an answer, the longest first.
    answers: tuple[int, ...]
    # The conversation's name, and whether that or a user is named.
    name: str
    known: bool
    # Whether the last message is the user's and directly follows the last answer.
    follows: bool
    voice: str = ""
    # Marks of the last message, of the last answer, and of the message before that.
    asked: str = ""
    said: str = ""
    led: str = ""
    request_id: str = ""
    completion_id: str = ""
    repeated: bool = False
    # The chain over history and answer, if the answer is known already.
    answered: str = ""
    unfinished: bool = False
    policy: str = ""

    @property
    def thread(self) -> str:
        return self.chain[0]

    @property
    def count(self) -> int:
        return len(self.chain) - 1

    @property
    def history(self) -> str:
        return self.chain[-1]

    @property
    def newest(self) -> int:
        """The place of the first message after the last answer."""
        return self.answers[0] if self.answers else 0

    @property
    def parent(self) -> str:
        """The chain up to the last answer, if the last message follows on it."""
        return self.chain[self.answers[0]] if self.follows else ""

    @property
    def prefixes(self) -> tuple[str, ...]:
        return tuple(self.chain[length] for length in self.answers)

    @property
    def may_be_linked(self) -> bool:
        """The first message of an unnamed caller never is, unless it is reported afterwards."""
        reported = bool(self.answered) or self.unfinished
        return self.known or bool(self.answers) or reported


def question_of(secret: bytes, call: Call) -> Question:
    """A named conversation takes precedence over a named user."""
    named = ("conversation", call.conversation) if call.conversation else ("user", call.speaker)
    messages = call.messages
    chain = [_digest(secret, "", call.tenant, *named)]
    for message in messages:
        chain.append(chain_on(secret, chain[-1], message))
    count = len(messages)
    answers = [place + 1 for place in range(count - 1) if messages[place].role == "assistant"]
    last = answers[-1] if answers else 0
    known = bool(call.speaker or call.conversation)
    asked, said, led = _marks(secret, chain[0], messages, last) if known else ("", "", "")
    return Question(
        tenant=call.tenant,
        chain=tuple(chain),
        answers=tuple(reversed(answers[-_ANSWERS_ASKED_FOR:])),
        name=call.conversation,
        known=known,
        follows=bool(last) and last == count - 1 and messages[-1].role == "user",
        voice=_voice(secret, call.tenant, call.instructions),
        asked=asked,
        said=said,
        led=led,
        request_id=call.request_id,
        completion_id=call.completion_id,
        repeated=call.repeated,
        answered=chain_on(secret, chain[-1], call.answer) if call.answer else "",
        unfinished=call.unfinished,
        policy=call.policy,
    )


def chain_on(secret: bytes, history: str, message: Message) -> str:
    """The chain over a history and the message after it."""
    return _digest(secret, history, message.role, content_of(message))


def mark_of(secret: bytes, thread: str, message: Message) -> str:
    return _digest(secret, "mark", thread, message.role, content_of(message))


def _marks(
    secret: bytes, thread: str, messages: Sequence[Message], last: int
) -> tuple[str, str, str]:
    """Of the last message, of the answer at place `last` - 1, and of the message before that."""
    asked = mark_of(secret, thread, messages[-1]) if messages else ""
    said = mark_of(secret, thread, messages[last - 1]) if last else ""
    led = mark_of(secret, thread, messages[last - 2]) if last > 1 else ""
    return asked, said, led


def _voice(secret: bytes, tenant: str, instructions: str) -> str:
    """How the system messages begin, digits aside, so that a date or a time changes nothing; empty if there are
    none."""
    words = " ".join(_DIGITS.sub("", instructions[: 4 * _VOICE_CHARS]).split()).lower()
    return _digest(secret, "voice", tenant, words[:_VOICE_CHARS]) if words else ""


def _digest(secret: bytes, *parts: str) -> str:
    """Keyed, so that nobody who reads the digests can test guesses of what was said."""
    digest = hashlib.blake2b(digest_size=16, key=secret[:64])
    for part in parts:
        coded = part.encode("utf-8", "replace")
        digest.update(b"%d:%b" % (len(coded), coded))
    return digest.hexdigest()
