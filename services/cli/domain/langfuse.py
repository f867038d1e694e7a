"""Langfuse's export: `observations_v2/` (generations become turns) and `scores/` (feedback).

A generation's input is the history, its output the answer. The conversation is the session, or the trace if
there is none. The answer's completion id is the observation's id, so that scores find it. A score of a trace
is about the trace's last generation among the newest MOST traces read before it (a folder's observations
are read before its scores), otherwise about the conversation.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

from services.cli.domain import Json
from services.cli.domain.records import (
    Item,
    Line,
    conversation,
    moment,
    own_name,
)
from shared.language.errors import InvalidArgument
from shared.language.identifiers import (
    completion_id_of,
    conversation_id_of,
    id_of,
    model_id_of,
    stable_id,
    user_id_of,
)
from shared.language.json_text import decode
from shared.language.messages import Message, text_message
from shared.language.openai_messages import read_message
from shared.language.opinions import Category, ExplicitFeedback, Rating, Value

MOST = 100_000
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


class Langfuse:
    """Names are in camel case or with underscores, depending on how the data was exported."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, str] = OrderedDict()

    def observation(self, record: Json) -> Item:
        """A generation; other kinds of observations become an empty item."""
        if str(_of(record, "type") or "GENERATION").upper() != "GENERATION":
            return Item()
        name = completion_id_of(_own(record, "id"))
        trace = conversation_id_of(_own(record, "traceId"))
        version = model_id_of(
            _of(record, "model")
            or _of(record, "providedModelName")
            or _of(record, "internalModelId")
        )
        start = moment(_of(record, "startTime"), "startTime")
        end = moment(_of(record, "endTime"), "endTime") or start
        asked = _messages(_of(record, "input"), "input", "user")
        lines = [Line(one, f"input[{place}]", start) for place, one in enumerate(asked)]
        for one in _messages(_of(record, "output"), "output", "assistant")[-1:]:
            lines.append(Line(one, "output", end, version, name))
        session = conversation_id_of(_own(record, "sessionId"))
        made = conversation(session or trace, _of(record, "userId"), lines)
        self._remember(trace, name)
        return Item((made,))

    def score(self, record: Json) -> Item:
        completion = completion_id_of(_own(record, "observationId"))
        trace = conversation_id_of(_own(record, "traceId"))
        session = conversation_id_of(_own(record, "sessionId"))
        completion = completion or self._last.get(trace, "")
        target = "" if completion else session or trace
        if not completion and not target:
            raise InvalidArgument(
                "the score names no observation, trace or session",
                reason="MISSING_TARGET",
                field="traceId",
            )
        name = id_of(_own(record, "id"), "feedback")
        return Item(
            feedback=(
                ExplicitFeedback(
                    tenant="",
                    feedback_id=name
                    or stable_id("score", completion, target, json.dumps(record, default=str)),
                    conversation_id=target,
                    completion_id=completion,
                    user_id=user_id_of(_own(record, "userId")),
                    value=_value(record),
                    comment=str(_of(record, "comment") or ""),
                    create_time=moment(_of(record, "timestamp"), "timestamp"),
                ),
            )
        )

    def _remember(self, trace: str, observation: str) -> None:
        if trace and observation:
            self._last[trace] = observation
            self._last.move_to_end(trace)
            while len(self._last) > MOST:
                self._last.popitem(last=False)


def _value(record: Json) -> Value | None:
    """Boolean: a thumb. Categorical: a category. Numeric: from 0 to 1, or a whole number from 1 to 5; another
    number is refused, as its scale is unknown."""
    kind, value = str(_of(record, "dataType") or "").upper(), _of(record, "value")
    said = _of(record, "stringValue")
    if kind == "BOOLEAN" or isinstance(value, bool):
        text = str(value if value is not None else said).lower().removesuffix(".0")
        if text not in _TRUE + _FALSE:
            raise InvalidArgument(
                f"value is {text[:20]!r}; it must be true or false",
                reason="INVALID_RECORD",
                field="value",
            )
        return text in _TRUE
    if kind == "CATEGORICAL" or isinstance(value, str):
        return Category(str(said or value))
    if not isinstance(value, int | float):
        if _of(record, "comment"):
            return None
        raise InvalidArgument("the score has no value", reason="MISSING_VALUE", field="value")
    if 0 <= value <= 1:
        return Rating(value, 0, 1)
    if value in (2, 3, 4, 5):
        return Rating(value, 1, 5)
    raise InvalidArgument(
        f"value {value} fits no known scale: 0 to 1, or whole numbers from 1 to 5",
        reason="MISSING_SCALE",
        field="value",
    )


def _messages(said: Any, field: str, role: str) -> list[Message]:
    """A text, a message, messages, `{messages: ...}`, `{choices: [{message}]}`, or JSON of these."""
    if isinstance(said, str) and said.lstrip().startswith(("{", "[")):
        try:
            said = decode(said.encode())
        except ValueError:
            return [text_message(role, said)]
    if isinstance(said, dict) and isinstance(said.get("messages"), list):
        said = said["messages"]
    if isinstance(said, dict) and isinstance(said.get("choices"), list):
        said = [one.get("message") for one in said["choices"][:1] if isinstance(one, dict)]
    if isinstance(said, dict):
        said = [said]
    if said is None:
        return []
    if not isinstance(said, list):
        return [text_message(role, str(said))]
    found = [
        read_message({"role": role, **one} if isinstance(one, dict) else one, f"{field}[{place}]")
        for place, one in enumerate(said)
    ]
    return [message for message in found if message.role != "system"]


def _own(record: Json, name: str) -> str | float:
    return own_name(_of(record, name), name)


def _of(record: Json, name: str) -> Any:
    """`traceId` or `trace_id`."""
    if name in record:
        return record[name]
    snake = "".join(f"_{one.lower()}" if one.isupper() else one for one in name)
    return record.get(snake)
