"""What the records of a file contain, whatever their format."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from services.cli.domain import Json
from shared.language import attempts
from shared.language.assessments import Assessment
from shared.language.errors import InvalidArgument
from shared.language.identifiers import conversation_id_of, stable_id, user_id_of
from shared.language.messages import Message, content_of
from shared.language.opinions import ExplicitFeedback
from shared.language.pairs import Pair
from shared.language.policies import ASSISTANT, is_same

T = TypeVar("T")

# The largest message: more than any service accepts by default, less than a call may hold.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One message of a conversation. `field` is its place in the record, for people."""

    message: Message
    field: str
    created: datetime | None = None
    model_version: str = ""
    completion_id: str = ""
    # Its place in the conversation, where that is not its place among the lines.
    place: int | None = None
    # As a turn has them: one of SIGNALS, and the turn that it replaces.
    turn_id: str = ""
    signal: str = ""
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Its lines are without system messages."""

    id: str
    user: str
    lines: tuple[Line, ...]
    # The policy that answers in it; empty: assistant.
    policy: str = ""

    def called(self, name: str) -> Conversation:
        """With another id; a user who was made up of the id, too."""
        user = user_of("", name) if self.user == user_of("", self.id) else self.user
        return replace(self, id=name, user=user)

    def placed(self) -> Iterator[tuple[int, Line]]:
        for number, line in enumerate(self.lines):
            yield number if line.place is None else line.place, line


@dataclass(frozen=True, slots=True)
class Item:
    """What one record contains."""

    conversations: tuple[Conversation, ...] = ()
    feedback: tuple[ExplicitFeedback, ...] = ()
    preferences: tuple[Pair, ...] = ()
    assessments: tuple[Assessment, ...] = ()

    @property
    def messages(self) -> int:
        return sum(len(one.lines) for one in self.conversations) + len(self.preferences)


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it is in a file. `line` is where it begins, from 1."""

    file: str
    line: int
    raw: bytes
    # Set if the record could not be cut out of its file.
    error: InvalidArgument | None = None
    # The error is of the file as a whole, so there is no record to correct.
    is_file: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """What was not imported, and why."""

    record: Record
    reason: str
    detail: str
    field: str = ""


@dataclass
class Imported:
    """The sum of an import. `records` were imported completely; `refused` were not, or only in part."""

    read: int = 0
    records: int = 0
    conversations: int = 0
    turns: int = 0
    feedback: int = 0
    preferences: int = 0
    # Of evaluators.
    assessments: int = 0
    refused: int = 0
    # By reason.
    reasons: dict[str, int] = field(default_factory=dict)
    # Why files could not be read, or not to their end.
    unread: dict[str, str] = field(default_factory=dict)
    # Fields that no format knows, with the number of records that have them.
    ignored: dict[str, int] = field(default_factory=dict)


def sorted_out(
    encode: Callable[[Item], T], items: Sequence[Item]
) -> tuple[list[tuple[int, T]], list[tuple[int, str, str, str]]]:
    """What can be sent, each with its place, and the refusals of the rest, as a port's `Sent` names them."""
    found, refused = attempts.sorted_out(encode, items)
    return found, [(at, one.field, one.reason, one.message) for at, one in refused]


def of_policy(item: Item, policy: str) -> Item:
    """The item as one of this policy, if there is one. The same preference for another policy is another, so it
    has an id of its own."""
    if not policy:
        return item
    named = "" if is_same(policy, ASSISTANT) else f"{policy}."
    return replace(
        item,
        conversations=tuple(replace(one, policy=policy) for one in item.conversations),
        preferences=tuple(
            replace(one, policy=policy, pair_id=one.pair_id and f"{named}{one.pair_id}")
            for one in item.preferences
        ),
    )


def conversation(own_id: object, user: object, lines: list[Line]) -> Conversation:
    """With the file's own id, or one made of the content. InvalidArgument for an id that is an object or a
    list, and for a conversation without messages."""
    if not lines:
        raise InvalidArgument(
            "the conversation has no messages", reason="EMPTY_CONVERSATION", field="messages"
        )
    for line in lines:
        check_message(line.message, line.field)
    name = conversation_id_of(own_name(own_id, "id")) or content_id(lines, user)
    return Conversation(name, user_of(user, name), tuple(lines))


def user_of(said: object, name: str) -> str:
    """The user's id, or one for the item `name` alone if the file names nobody."""
    return user_id_of(own_name(said, "user")) or f"import-{name}"[:128]


def content_id(lines: list[Line], user: object = None) -> str:
    """Two users who said the same had two conversations."""
    said = [text for line in lines for text in (line.message.role, content_of(line.message))]
    who = user_id_of(own_name(user, "user"))
    return stable_id(*said, who) if who else stable_id(*said)


def check_message(message: Message, name: str) -> None:
    content = content_of(message)
    if not content:
        raise InvalidArgument(f"{name} is empty", reason="EMPTY_MESSAGE", field=name)
    size = len(content) if content.isascii() else len(content.encode(errors="surrogatepass"))
    if size > MAX_MESSAGE_BYTES:
        raise InvalidArgument(
            f"{name} has {size} bytes; the limit is {MAX_MESSAGE_BYTES}",
            reason="MESSAGE_TOO_LARGE",
            field=name,
        )


def own_name(value: object, name: str) -> str | float:
    """What the file calls a user, a conversation and so on: text or a number, from which the functions of
    shared.language.identifiers make the id; empty if there is none. InvalidArgument for anything else, as it
    names nothing."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidArgument(
            f"{name} must be text or a number (got {str(value)[:40]!r})",
            reason="INVALID_ID",
            field=name,
        )
    return value


def first_of(record: Json, *names: str) -> object:
    """The first of the fields that has a value, which may be 0."""
    return next((record[one] for one in names if record.get(one) not in (None, "")), None)


def moment(value: object, name: str) -> datetime | None:
    """ISO 8601 or Unix seconds; UTC if no zone is given. InvalidArgument if it is not a time."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise _no_time(value, name) from error
    raise _no_time(value, name)


def objects(record: Mapping[str, Any], name: str) -> list[Json]:
    found = record.get(name)
    if not isinstance(found, list):
        raise InvalidArgument(f"{name} is not a list", reason="INVALID_RECORD", field=name)
    for place, one in enumerate(found):
        if not isinstance(one, dict):
            field = f"{name}[{place}]"
            raise InvalidArgument(f"{field} is not an object", reason="INVALID_RECORD", field=field)
    return found


def _no_time(value: object, name: str) -> InvalidArgument:
    return InvalidArgument(
        f"{name} is not a time: {str(value)[:40]!r}", reason="ABSURD_TIME", field=name
    )
