"""Which format a record has, and what it contains."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from services.cli.domain import Json, chats, votes
from services.cli.domain.batches import Batches
from services.cli.domain.chatgpt import chatgpt, chatgpt_feedback
from services.cli.domain.claude import claude
from services.cli.domain.convai2 import convai2
from services.cli.domain.histories import Histories
from services.cli.domain.langfuse import Langfuse
from services.cli.domain.open_webui import open_webui
from services.cli.domain.preferences import openai_preference, trl_preference
from services.cli.domain.records import Conversation, Item, user_of
from services.cli.domain.scores import Scores
from services.cli.domain.sessions import Sessions
from shared.language import openai_messages
from shared.language.errors import InvalidArgument
from shared.language.identifiers import stable_id, user_id_of
from shared.language.likely import likely
from shared.language.messages import content_of

# What the formats read of a record. Other fields are counted.
FIELDS = {
    "openai": "messages id user user_id created model metadata " + " ".join(chats.SESSIONS),
    "sharegpt": "conversations id user model",
    "wildchat": "conversation conversation_hash hashed_ip model timestamp",
    "lmsys": "conversation conversation_id user model tstamp",
    "arena": "question_id id model_a model_b winner judge judge_hash conversation_a conversation_b"
    " tstamp timestamp",
    "langfuse": "id traceId observationId sessionId userId type model providedModelName"
    " internalModelId startTime endTime input output name source dataType value stringValue comment"
    " timestamp minValue maxValue min max metadata queueId",
    "trl-preference": "prompt conversations messages instruction input question chosen rejected id"
    " user created rejected_model",
    "hh-rlhf": "chosen rejected id user",
    "trl-unpaired": "prompt completion label messages conversations id user model",
    "openai-preference": "input preferred_output non_preferred_output id user created rejected_model",
    "openai-batch": "custom_id method url body id response error",
    "chatgpt": "mapping current_node conversation_id id user default_model_slug rating content"
    " user_id create_time title update_time",
    "claude": "uuid chat_messages account user model current_leaf_message_uuid name created_at"
    " updated_at",
    "open-webui": "id user_id chat data meta snapshot history messages title created_at updated_at"
    " type version",
    "convai2": "dialog start_time end_time eval_score participant1_id participant2_id",
}
FORMATS = tuple(FIELDS)
# Over how many earlier conversations the same id with other content is noticed.
REMEMBERED = 100_000
# What is read of a message in OpenAI's format, and how its place is named.
_OF_MESSAGES = openai_messages.FIELDS | {"created", "timestamp", "model_version", "completion_id"}
_MESSAGES = "messages[]."
# So many unread fields are counted by name.
_MOST_FIELDS = 200


@dataclass(frozen=True, slots=True)
class _Format:
    read: Callable[[Json], Item]
    fields: frozenset[str]
    # Whether a conversation comes in several records.
    in_parts: bool = False


class Ignored:
    """The fields that were not read, with the number of records that have them."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def note(self, record: Json, format_name: str, known: frozenset[str]) -> None:
        for name in record.keys() - known:
            if record[name] is not None:
                self._add(format_name, name)

    def note_messages(self, messages: list[Json]) -> None:
        """Each once a record. Almost all messages have a role and a content, and no more."""
        odd = {
            name
            for one in messages
            if len(one) > 2
            for name in one.keys() - _OF_MESSAGES
            if one[name] is not None
        }
        for name in odd:
            self._add(_MESSAGES, name)

    def _add(self, place: str, name: str) -> None:
        key = (place, name)
        if key in self._counts or len(self._counts) < _MOST_FIELDS:
            self._counts[key] += 1

    @property
    def counts(self) -> dict[str, int]:
        """By `name`, or by `name (meant?)` if it resembles a field that is read."""
        found: Counter[str] = Counter()
        for (place, name), count in sorted(self._counts.items()):
            known = _OF_MESSAGES if place == _MESSAGES else FIELDS[place].split()
            meant, where = likely(name, known), place if place == _MESSAGES else ""
            found[f"{where}{name} ({meant}?)" if meant else f"{where}{name}"] += count
        return dict(found)


class Reader:
    """Reads the records of one import, in order, as some formats refer to earlier records. `user`: to whom
    records that name nobody belong."""

    def __init__(
        self, format_name: str = "auto", scores: Scores | None = None, user: str = ""
    ) -> None:
        self._format, self._user = format_name, user_id_of(user)
        self._sessions, self._histories, self.ignored = Sessions(), Histories(), Ignored()
        self._known: OrderedDict[str, str] = OrderedDict()
        langfuse = Langfuse(scores or Scores(), self._sessions, self._histories)
        reads: dict[str, Callable[[Json], Item]] = {
            "openai": self._openai,
            "sharegpt": chats.sharegpt,
            "wildchat": chats.wildchat,
            "lmsys": chats.lmsys,
            "arena": votes.arena,
            "langfuse": lambda one: (langfuse.score if _is_score(one) else langfuse.observation)(
                one
            ),
            "trl-preference": trl_preference,
            "hh-rlhf": trl_preference,
            "trl-unpaired": votes.trl_unpaired,
            "openai-preference": openai_preference,
            "openai-batch": Batches().read,
            "chatgpt": lambda one: (chatgpt if "mapping" in one else chatgpt_feedback)(one),
            "claude": claude,
            "open-webui": open_webui,
            "convai2": convai2,
        }
        parts = ("openai", "langfuse", "openai-batch", "open-webui")
        self._formats = {
            name: _Format(read, frozenset(_spellings(FIELDS[name])), name in parts)
            for name, read in reads.items()
        }

    def read(self, record: Any) -> Item:
        """InvalidArgument says what is wrong with the record, and names the field."""
        if not isinstance(record, dict):
            raise InvalidArgument("the record is not a JSON object", reason="INVALID_RECORD")
        found = detect(record) if self._format == "auto" else self._format
        known = self._formats[found]
        item = known.read(record)
        if not record.keys() <= known.fields:
            self.ignored.note(record, found, known.fields)
        if found == "openai":
            self.ignored.note_messages(record["messages"])
        if not known.in_parts:
            for one in item.conversations:
                self._check_once(one)
        return _named(item, self._user) if self._user else item

    def _openai(self, record: Json) -> Item:
        item = chats.openai(record)
        (said,) = item.conversations
        if chats.session_of(record) is not None:
            return Item((self._sessions.placed(said, chats.voice(record)),))
        if record.get("id"):
            self._check_once(said)
            return item
        return Item((self._sessions.placed(said.called(self._histories.joined(said))),))

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


def _named(item: Item, user: str) -> Item:
    """With `user` in place of nobody, and of those who were made up."""
    made_up = {"", *(user_of("", one.id) for one in item.conversations)}
    made_up |= {user_of("", one.pair_id) for one in item.preferences}

    def named(own: str) -> str:
        return user if own in made_up else own

    return replace(
        item,
        conversations=tuple(replace(one, user=named(one.user)) for one in item.conversations),
        feedback=tuple(replace(one, user_id=named(one.user_id)) for one in item.feedback),
        preferences=tuple(replace(one, user_id=named(one.user_id)) for one in item.preferences),
    )


# By which fields a record is recognised: all of a line, the first of which has the given type. What says more
# comes first, so that further fields never make a record mean less.
_SIGNS: tuple[tuple[str, type, tuple[str, ...]], ...] = (
    ("trl-preference", object, ("chosen", "rejected")),
    ("openai-preference", object, ("preferred_output", "non_preferred_output")),
    ("arena", object, ("conversation_a", "conversation_b")),
    ("openai-batch", dict, ("body", "custom_id")),
    ("openai-batch", object, ("response", "custom_id")),
    ("trl-unpaired", object, ("completion", "label")),
    ("trl-unpaired", bool, ("label", "messages")),
    ("trl-unpaired", bool, ("label", "conversations")),
    ("open-webui", dict, ("history", "models")),
    ("openai", object, ("messages",)),
    ("chatgpt", dict, ("mapping",)),
    ("claude", list, ("chat_messages",)),
    ("open-webui", dict, ("chat",)),
    ("open-webui", dict, ("history",)),
    ("open-webui", dict, ("data", "meta")),
    ("sharegpt", object, ("conversations",)),
    ("wildchat", object, ("conversation", "conversation_hash")),
    ("lmsys", object, ("conversation",)),
    ("convai2", object, ("dialog",)),
    ("chatgpt", str, ("rating", "conversation_id")),
    ("langfuse", object, ("traceId",)),
    ("langfuse", object, ("trace_id",)),
    ("langfuse", object, ("observationId",)),
    ("langfuse", object, ("observation_id",)),
    ("langfuse", object, ("dataType",)),
    ("langfuse", object, ("data_type",)),
)
# None of these: messages are a conversation, without looking any further.
_BEFORE_MESSAGES = frozenset(
    names[0] for _, _, names in _SIGNS[: [found for found, *_ in _SIGNS].index("openai")]
)


def detect(record: Json) -> str:
    """The format of a record, recognised by its fields. InvalidArgument if it is none of FORMATS."""
    if record.get("messages") is not None and _BEFORE_MESSAGES.isdisjoint(record):
        return "openai"
    for found, kind, names in _SIGNS:
        if isinstance(record.get(names[0]), kind) and all(
            record.get(name) is not None for name in names
        ):
            return found
    raise InvalidArgument(
        f"its fields ({', '.join(sorted(record))[:80]}) fit none of the formats:"
        f" {', '.join(FORMATS)}",
        reason="UNKNOWN_FORMAT",
    )


def _is_score(record: Json) -> bool:
    """Observations have neither a value nor a data type, but an input or an output."""
    if any(name in record for name in ("value", "dataType", "data_type", "stringValue")):
        return True
    return "comment" in record and "input" not in record and "output" not in record


def _spellings(names: str) -> Iterator[str]:
    """In camel case and with underscores."""
    for name in names.split():
        yield name
        yield "".join(f"_{one.lower()}" if one.isupper() else one for one in name)
