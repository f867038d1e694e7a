"""Langfuse's scores as its SDK sends them: people's opinions, and evaluators' figures.

The SDK says no source. A score is a person's if it came from an annotation queue, if it corrects an answer, or
if its name or `metadata.source` says so. Its scale is known by its name, or by `metadata.min` and
`metadata.max`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shared.language.assessments import Assessment, is_of_person, rating_of
from shared.language.errors import InvalidArgument
from shared.language.opinions import Category, Demonstration, ExplicitFeedback, Value

_SAY_SCALE = "give the score metadata with min and max, or data_type BOOLEAN"


def read_score(score: object) -> ExplicitFeedback | Assessment:
    """Its completion is the observation; without one its conversation is the session, or the trace.
    InvalidArgument names the field that is missing or cannot be read."""
    if not isinstance(score, Mapping):
        raise _wrong("a score must be an object", "")
    name = _text(score, "name")
    completion = _text(score, "observationId")
    target: dict[str, Any] = {
        "tenant": "",
        "completion_id": completion,
        "conversation_id": ""
        if completion
        else _text(score, "sessionId") or _text(score, "traceId"),
        "create_time": _time(_text(score, "timestamp")),
    }
    if not target["completion_id"] and not target["conversation_id"]:
        raise InvalidArgument(
            "the score names no observation, trace or session",
            reason="MISSING_TARGET",
            field="traceId",
        )
    if _is_of_person(score, name):
        return ExplicitFeedback(
            **target,
            value=_opinion(score, name),
            feedback_id=_text(score, "id"),
            comment=_text(score, "comment"),
        )
    value = score.get("value")
    return Assessment(
        **target,
        name=name,
        value=None if isinstance(value, str) else _number(score),
        label=value if isinstance(value, str) else "",
        explanation=_text(score, "comment"),
        evaluator=_source(score),
        assessment_id=_text(score, "id"),
    )


def _is_of_person(score: Mapping[str, Any], name: str) -> bool:
    corrects = _kind(score) == "CORRECTION"
    source = "annotation" if score.get("queueId") else _source(score)
    return corrects or is_of_person(source, name)


def _opinion(score: Mapping[str, Any], name: str) -> Value | None:
    """None for words alone, which are the comment."""
    value, kind = score.get("value"), _kind(score)
    if kind == "CORRECTION":
        return Demonstration(str(value))
    if isinstance(value, str):
        return Category(value)
    number = _number(score)
    if kind == "BOOLEAN":
        return number == 1.0
    said = score.get("metadata")
    ends = said if isinstance(said, Mapping) else {}
    return rating_of(name, number, _end(ends, "min"), _end(ends, "max"), _SAY_SCALE)


def _end(metadata: Mapping[str, Any], name: str) -> float | None:
    value = metadata.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _source(score: Mapping[str, Any]) -> str:
    said = score.get("metadata")
    return _text(said, "source") if isinstance(said, Mapping) else _text(score, "source")


def _kind(score: Mapping[str, Any]) -> str:
    return _text(score, "dataType").upper()


def _number(score: Mapping[str, Any]) -> float:
    value = score.get("value")
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong("value must be a number or text", "value")
    return float(value)


def _text(held: Mapping[str, Any], name: str) -> str:
    value = held.get(name)
    return value if isinstance(value, str) else ""


def _time(said: str) -> datetime | None:
    if not said:
        return None
    try:
        time = datetime.fromisoformat(said)
    except ValueError as error:
        raise _wrong(f"timestamp {said[:40]!r} is not a time", "timestamp") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _wrong(message: str, field: str) -> InvalidArgument:
    return InvalidArgument(message, reason="INVALID_BODY", field=field)
