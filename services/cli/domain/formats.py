"""Which format a record has, and what it contains."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from services.cli.domain import Json, chats, votes
from services.cli.domain.convai2 import convai2
from services.cli.domain.langfuse import Langfuse
from services.cli.domain.records import Conversation, Item
from shared.language.errors import InvalidArgument
from shared.language.identifiers import stable_id
from shared.language.messages import content_of

FORMATS = (
    "openai",
    "sharegpt",
    "wildchat",
    "lmsys",
    "arena",
    "langfuse",
    "trl-preference",
    "trl-unpaired",
    "convai2",
)
_LANGFUSE = ("traceId", "trace_id", "observationId", "observation_id", "dataType", "data_type")
# Over how many earlier conversations the same id with other content is noticed.
REMEMBERED = 100_000


class Reader:
    """Reads the records of one import, in order, as some formats refer to earlier records."""

    def __init__(self, format_name: str = "auto") -> None:
        self._format = format_name
        self._langfuse = Langfuse()
        self._known: OrderedDict[str, str] = OrderedDict()
        self._read: dict[str, Callable[[Json], Item]] = {
            "openai": chats.openai,
            "sharegpt": chats.sharegpt,
            "wildchat": chats.wildchat,
            "lmsys": chats.lmsys,
            "arena": votes.arena,
            "langfuse": self._of_langfuse,
            "trl-preference": votes.trl_preference,
            "trl-unpaired": votes.trl_unpaired,
            "convai2": convai2,
        }

    def read(self, record: Any) -> Item:
        """InvalidArgument says what is wrong with the record, and names the field."""
        if not isinstance(record, dict):
            raise InvalidArgument("the record is not a JSON object", reason="INVALID_RECORD")
        found = detect(record) if self._format == "auto" else self._format
        item = self._read[found](record)
        if found != "langfuse":  # in that format a conversation comes in several records
            for one in item.conversations:
                self._check_once(one)
        return item

    def _check_once(self, conversation: Conversation) -> None:
        said = [content_of(line.message) for line in conversation.lines]
        digest = stable_id(*said, length=16)
        had = self._known.setdefault(conversation.id, digest)
        if had != digest:
            raise InvalidArgument(
                f"conversation {conversation.id} was already imported with other content",
                reason="DUPLICATE_ID_OTHER_CONTENT",
                field="id",
            )
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _of_langfuse(self, record: Json) -> Item:
        return (self._langfuse.score if _is_score(record) else self._langfuse.observation)(record)


def detect(record: Json) -> str:
    """The format of a record, recognised by its fields. InvalidArgument if it is none of FORMATS."""
    if "messages" in record:
        return "openai"
    if "conversations" in record:
        return "sharegpt"
    if "conversation_a" in record and "conversation_b" in record:
        return "arena"
    if "conversation" in record:
        return "wildchat" if "conversation_hash" in record else "lmsys"
    if "dialog" in record:
        return "convai2"
    if "chosen" in record and "rejected" in record:
        return "trl-preference"
    if "completion" in record and "label" in record:
        return "trl-unpaired"
    if any(name in record for name in _LANGFUSE):
        return "langfuse"
    raise InvalidArgument(
        f"its fields ({', '.join(sorted(record))[:80]}) fit none of the formats:"
        f" {', '.join(FORMATS)}",
        reason="UNKNOWN_FORMAT",
    )


def _is_score(record: Json) -> bool:
    """Observations have neither a value nor a data type."""
    return any(name in record for name in ("value", "dataType", "data_type", "stringValue"))
