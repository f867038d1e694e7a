"""What people say of an answer outside the conversation: thumbs, ratings, comments, better answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.language.identifiers import stable_id, target_name


@dataclass(frozen=True, slots=True)
class Rating:
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Category:
    name: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A better answer, as the user would have had it."""

    text: str


# A thumb is a bool.
Value = bool | Rating | Category | Demonstration


@dataclass(frozen=True, slots=True)
class ExplicitFeedback:
    """What a user said of an answer (a completion or a turn) or of a whole conversation: a value, a comment, or
    both."""

    tenant: str
    value: Value | None = None
    feedback_id: str = ""
    completion_id: str = ""
    conversation_id: str = ""
    turn_id: str = ""
    user_id: str = ""
    comment: str = ""
    create_time: datetime | None = None
    # Instead of turn_id: the answer's place in the conversation.
    index: int | None = None
    # Replaces what the user said before of the same target with the same kind of value.
    replaces: bool = False

    @property
    def time(self) -> datetime:
        """`create_time` of accepted feedback. Raises ValueError if it was not accepted."""
        if self.create_time is None:
            raise ValueError(f"feedback {self.feedback_id} has no time: it is not accepted yet")
        return self.create_time

    @property
    def is_of_conversation(self) -> bool:
        """Whether it is about the conversation as a whole."""
        return not self.completion_id and not self.turn_id and self.index is None

    @property
    def value_kind(self) -> str:
        """What `replaces` compares: a thumb replaces a thumb, a rating a rating."""
        match self.value:
            case bool():
                return "thumb"
            case Rating():
                return "rating"
            case Demonstration():
                return "demonstration"
            case Category():
                return "category"
        return "comment"

    @property
    def target(self) -> str:
        """Also the event's key: the conversation's name where it is known."""
        return target_name(self.tenant, self.conversation_id, self.completion_id)

    @property
    def digest(self) -> str:
        """The id of feedback that was given none. For feedback that replaces, it depends on the time, too: up,
        down and up again are three pieces of feedback."""
        said = [repr(self.value), self.comment, self.user_id]
        if self.index is not None:
            said.append(f"index {self.index}")
        if self.replaces and self.create_time:
            said.append(self.create_time.isoformat())
        return stable_id(self.target, self.turn_id, self.completion_id, *said)

    @property
    def event_id(self) -> str:
        return stable_id("feedback", self.tenant, self.feedback_id, self.digest)
