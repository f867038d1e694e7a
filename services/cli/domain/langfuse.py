"""Langfuse's export: `observations_v2/` (generations become turns) and `scores/` (feedback and assessments).

A generation's input is the history, its output the answer. The conversation is the session, or the trace if
there is none; each generation is placed in it by what it repeats (sessions.py). The answer's completion id is
the observation's id, so that scores find it. A score of a trace is about the trace's last generation among the
newest MOST traces read before it (a folder's observations are read before its scores), otherwise about the
conversation. What people and what evaluators say is told apart in scores.py.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import replace
from typing import Any

from services.cli.domain import Json
from services.cli.domain.histories import Histories
from services.cli.domain.records import (
    Conversation,
    Item,
    Line,
    conversation,
    moment,
    own_name,
)
from services.cli.domain.scores import Scores
from services.cli.domain.sessions import Sessions, voice_of
from shared.language.assessments import Assessment
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
from shared.language.opinions import Category, Demonstration, ExplicitFeedback, Value

MOST = 100_000
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


class Langfuse:
    """Names are in camel case or with underscores, depending on how the data was exported."""

    def __init__(self, scores: Scores, sessions: Sessions, histories: Histories) -> None:
        self._scores, self._sessions, self._histories = scores, sessions, histories
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
        lines = [Line(one, f"input[{place}]", start) for place, one in enumerate(_heard(asked))]
        for one in _heard(_messages(_of(record, "output"), "output", "assistant"))[-1:]:
            lines.append(Line(one, "output", end, version, name))
        session = conversation_id_of(_own(record, "sessionId"))
        made = conversation(session or trace, _of(record, "userId"), lines)
        self._remember(trace, name)
        return Item((self._placed(made, voice_of(asked), is_session=bool(session)),))

    def _placed(self, said: Conversation, voice: str, *, is_session: bool) -> Conversation:
        """Calls of one trace of which neither continues the other, such as a router's and the answer's, are
        parts of their own; calls of several traces whose history grows are one conversation."""
        if is_session:
            return self._sessions.placed(said, voice)
        joined = said.called(self._histories.joined(said))
        return self._sessions.placed(joined, voice, follows=False)

    def score(self, record: Json) -> Item:
        """A person's is feedback, an evaluator's an assessment. InvalidArgument if nothing says which."""
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
        own = id_of(_own(record, "id"), "feedback")
        own = own or stable_id("score", completion, target, json.dumps(record, default=str))
        name, source = str(_of(record, "name") or ""), _source(record)
        if self._scores.is_opinion(source, name):
            given = ExplicitFeedback(
                "", _value(record, name, self._scores), own, completion, target
            )
            return Item(feedback=(_said(given, record),))
        return Item(assessments=(_assessed(record, name, source, own, completion, target),))

    def _remember(self, trace: str, observation: str) -> None:
        if trace and observation:
            self._last[trace] = observation
            self._last.move_to_end(trace)
            while len(self._last) > MOST:
                self._last.popitem(last=False)


def _said(given: ExplicitFeedback, record: Json) -> ExplicitFeedback:
    return replace(
        given,
        user_id=user_id_of(_own(record, "userId")),
        comment=str(_of(record, "comment") or ""),
        create_time=moment(_of(record, "timestamp"), "timestamp"),
    )


def _assessed(
    record: Json, name: str, source: str, own: str, completion: str, target: str
) -> Assessment:
    value, said = _of(record, "value"), _of(record, "stringValue")
    number = float(value) if isinstance(value, int | float) else None
    label = said if said is not None else value if isinstance(value, str) else ""
    return Assessment(
        tenant="",
        name=name,
        value=number,
        label=str(label),
        explanation=str(_of(record, "comment") or ""),
        evaluator=source,
        assessment_id=own,
        completion_id=completion,
        conversation_id=target,
        user_id=user_id_of(_own(record, "userId")),
        create_time=moment(_of(record, "timestamp"), "timestamp"),
    )


def _value(record: Json, name: str, scores: Scores) -> Value | None:
    """Boolean: a thumb. Categorical: a category. A correction: a better answer. Numeric: a rating on its scale,
    see Scores. None for a comment."""
    kind, value = str(_of(record, "dataType") or "").upper(), _of(record, "value")
    said = _of(record, "stringValue")
    if kind == "BOOLEAN" or isinstance(value, bool):
        return _thumb(value if value is not None else said)
    if kind == "CORRECTION":
        return Demonstration(str(said or value or ""))
    if kind == "CATEGORICAL" or isinstance(value, str):
        return Category(str(said or value))
    if not isinstance(value, int | float):
        if _of(record, "comment"):
            return None
        raise InvalidArgument("the score has no value", reason="MISSING_VALUE", field="value")
    return scores.rating(name, value, _end(record, "min"), _end(record, "max"))


def _end(record: Json, name: str) -> Any:
    """Of the scale, as Langfuse's score configurations name it, or in the score's metadata."""
    metadata = record.get("metadata")
    held = metadata.get(name) if isinstance(metadata, dict) else None
    found = (_of(record, f"{name}Value"), record.get(name), held)
    return next((one for one in found if one is not None), None)


def _source(record: Json) -> str:
    """What annotation queues bring, and corrections, are people's."""
    metadata = record.get("metadata")
    said = metadata.get("source") if isinstance(metadata, dict) else None
    if _of(record, "queueId") or str(_of(record, "dataType")).upper() == "CORRECTION":
        return "ANNOTATION"
    return str(said or _of(record, "source") or "")


def _thumb(value: Any) -> bool:
    text = str(value).lower().removesuffix(".0")
    if text not in _TRUE + _FALSE:
        raise InvalidArgument(
            f"value is {text[:20]!r}; it must be true or false",
            reason="INVALID_RECORD",
            field="value",
        )
    return text in _TRUE


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
    return [
        read_message({"role": role, **one} if isinstance(one, dict) else one, f"{field}[{place}]")
        for place, one in enumerate(said)
    ]


def _heard(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message.role != "system"]


def _own(record: Json, name: str) -> str | float:
    return own_name(_of(record, name), name)


def _of(record: Json, name: str) -> Any:
    """`traceId` or `trace_id`."""
    if name in record:
        return record[name]
    snake = "".join(f"_{one.lower()}" if one.isupper() else one for one in name)
    return record.get(snake)
