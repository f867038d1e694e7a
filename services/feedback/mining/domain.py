"""What is mined of what users say, as plain values, and the rules that need nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from shared.language.identifiers import stable_id
from shared.language.messages import Message
from shared.language.turns import Turn
from shared.language.verdicts import DISSATISFIED, FollowUpKind

KINDS = tuple(FollowUpKind)
# Why something is dropped, or not asked for: more of its tenant waits than may.
BACKLOG = "BACKLOG"


class FollowUpStep(StrEnum):
    """What a follow-up does about the answer: finer than its kind."""

    # Asks the same again, in these words or others.
    REPEAT = "repeat"
    # Says what was wrong or is wanted; or only that something was.
    CORRECTION_WITH_DETAIL = "correction_with_detail"
    CORRECTION_WITHOUT_DETAIL = "correction_without_detail"
    # Asks what was meant, or whether it is so.
    CLARIFICATION = "clarification"
    POSITIVE = "positive"
    # Gives the request up.
    ABANDONED = "abandoned"
    NONE = "none"


class Source(StrEnum):
    FOLLOW_UP = "follow_up"
    EXPLICIT = "explicit"
    # A follow-up that said nothing about the answer, with the label of one soon after it.
    HINDSIGHT = "hindsight"
    # A follow-up that the heads were unsure of, judged by the served model.
    JUDGE = "judge"


def follow_up_id(turn: Turn) -> str:
    """The feedback_id of what is mined of a user's turn."""
    return stable_id("follow-up", turn.tenant, turn.conversation_id, turn.turn_id)


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A user's turn after an answer, with the messages that led to the answer (oldest first)."""

    feedback_id: str
    context: tuple[Message, ...]
    answer: Turn
    turn: Turn
    # Whether the request before the answer was made instead of another.
    edited: bool = False

    @property
    def request(self) -> str:
        """The last thing that the user said before the answer; empty if there is none."""
        said = [message.text for message in self.context if message.role == "user"]
        return said[-1] if said else ""


@dataclass(frozen=True, slots=True)
class Label:
    """A judgement. `probabilities` by Kind's value; sums to one. `head`: which one told the
    dissatisfaction of a follow-up."""

    kind: FollowUpKind
    probabilities: dict[str, float]
    dissatisfaction: float
    abstain_reason: str = ""
    head: str = ""

    @property
    def abstained(self) -> bool:
        return bool(self.abstain_reason)


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known besides the text. `similarity`: the cosine of the follow-up and the request;
    `gap_s`: from the answer to the follow-up; whether the answer, or the request, was made instead
    of another."""

    similarity: float
    gap_s: float
    regenerated: bool = False
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Mined:
    """One piece of feedback, mined or explicit, with what it is about."""

    feedback_id: str
    tenant: str
    user_id: str
    conversation_id: str
    source: Source
    label: Label
    create_time: datetime
    # Empty for a whole conversation.
    answer_turn_id: str = ""
    follow_up_turn_id: str = ""
    model_version: str = ""
    # Whose answer it is about; empty: assistant.
    policy: str = ""
    channel: str = ""
    context: tuple[Message, ...] = ()
    answer: Message | None = None
    follow_up: str = ""
    request_embedding: tuple[float, ...] = ()
    # Explicit feedback in whose place this stands.
    replaces: tuple[str, ...] = ()
    # None of explicit feedback.
    step: FollowUpStep | None = None
    signals: Signals | None = None
    # The part of the answer that the user spoke of; empty for all of it.
    about: str = ""
    # Of hindsight: the feedback whose label it has.
    inherits_from: str = ""
    # The groups of people that the user was known to be in when it was stored.
    groups: tuple[str, ...] = ()
    # Of what the user said before it, the newest that says something about an answer.
    kind_before: FollowUpKind | None = None

    @property
    def request(self) -> str:
        said = [message.text for message in self.context if message.role == "user"]
        return said[-1] if said else ""

    @property
    def satisfaction(self) -> float:
        """From 0 to 1: of explicit feedback the normalised value; of a follow-up what is to be
        expected where praise is 1, dissatisfaction 0, and what says nothing of the answer a half."""
        content = 1.0 - self.label.dissatisfaction
        if self.source is Source.EXPLICIT:
            return content
        shares = {kind: self.label.probabilities.get(kind.value, 0.0) for kind in KINDS}
        rest = sum(share for kind, share in shares.items() if kind not in DISSATISFIED)
        praise = shares[FollowUpKind.POSITIVE] / rest if rest else 0.0
        return content * (1.0 + praise) / 2.0

    @property
    def prompt_key(self) -> str:
        """The same for what is about an answer to the same messages; "" for a whole conversation."""
        if not self.answer_turn_id or not self.context:
            return ""
        said = [part for m in self.context for part in (m.role, " ".join(m.text.lower().split()))]
        return stable_id("prompt", *said)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a piece of explicit feedback stands among what its user said of the same target: which
    pieces it has replaced, or that a later one has replaced it already."""

    replaces: tuple[str, ...] = ()
    is_replaced: bool = False


class JudgementState(StrEnum):
    # Kept and shown; nothing uses it.
    SHADOW = "shadow"
    COUNTED = "counted"
    ABSTAINED = "abstained"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the model said of a follow-up."""

    feedback_id: str
    tenant: str
    user_id: str
    conversation_id: str
    answer_turn_id: str
    label: Label
    model: str
    state: JudgementState
    create_time: datetime


class Compared(NamedTuple):
    """Whether the judge, and the user, said that the user was dissatisfied."""

    user_id: str
    judged_bad: bool
    said_bad: bool


def bounded_context(messages: list[Message], most: int, characters: int) -> tuple[Message, ...]:
    """The newest messages, at most `most` and `characters` long; at least the newest one.

    Starts with a user's message if there is one, so that a chat template takes it.
    """
    kept: list[Message] = []
    for message in reversed(messages[-most:]):
        characters -= len(message.text)
        if kept and characters < 0:
            break
        kept.insert(0, message)
    while len(kept) > 1 and kept[0].role != "user":
        kept.pop(0)
    return tuple(kept)
