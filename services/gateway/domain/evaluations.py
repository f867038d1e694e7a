"""`gen_ai.evaluation.result`, as an event of a span or as a log record: a person's opinion, or an evaluator's.

Who gave it is in `gen_ai.evaluation.evaluator.type` (human, llm_judge) or another of SOURCE_KEYS. Without any
of them it is an evaluator's, which is what the event is for, unless its name says that users gave it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from services.gateway.domain.facts import COMPLETION_KEYS, SpanFacts, facts_of, named
from services.gateway.domain.telemetry import Event, time_of
from shared.language.assessments import Assessment, is_of_person, rating_of
from shared.language.errors import InvalidArgument
from shared.language.identifiers import completion_id_of
from shared.language.opinions import Category, ExplicitFeedback, Value

EVALUATION = "gen_ai.evaluation.result"
Opinion = ExplicitFeedback | Assessment
SOURCE_KEYS = (
    "gen_ai.evaluation.evaluator.type",
    "gen_ai.evaluation.source",
    "langfuse.score.source",
    "annotator_kind",
)
_NAME, _EVALUATOR = "gen_ai.evaluation.name", "gen_ai.evaluation.evaluator.id"
_SCORE, _WORDS = "gen_ai.evaluation.score", "gen_ai.evaluation.explanation"
_SAY_SCALE = f"send {_SCORE}.min and {_SCORE}.max"


def read_evaluation(event: Event, facts: SpanFacts | None = None) -> Opinion:
    """`facts`: of its span; a log record has its own. InvalidArgument if it says nothing, or a person's number
    has no scale."""
    held = event.attributes
    known = facts or facts_of(held, event.resource, event.trace_id)
    completion = named((held,), COMPLETION_KEYS, completion_id_of) or known.completion_id
    conversation = "" if completion else known.conversation_id
    source, name = _first(held, *SOURCE_KEYS), _first(held, _NAME)
    if not is_of_person(source, name):
        return Assessment(
            tenant="",
            name=name or "evaluation",
            value=_value(held),
            label=_first(held, f"{_SCORE}.label"),
            explanation=_first(held, _WORDS),
            evaluator=_first(held, _EVALUATOR) or source,
            completion_id=completion,
            conversation_id=conversation,
            user_id=known.known_user_id,
            create_time=time_of(event.time_ns),
        )
    return ExplicitFeedback(
        tenant="",
        value=_opinion(held, name),
        completion_id=completion,
        conversation_id=conversation,
        user_id=known.known_user_id,
        comment=_first(held, _WORDS),
        create_time=time_of(event.time_ns),
    )


def _opinion(held: Mapping[str, Any], name: str) -> Value | None:
    """The score on its scale, otherwise the label; None if there is only an explanation."""
    score = held.get(f"{_SCORE}.value")
    if isinstance(score, bool):
        return score
    if (value := _value(held)) is not None:
        low, high = _number(held, f"{_SCORE}.min"), _number(held, f"{_SCORE}.max")
        return rating_of(name, value, low, high, _SAY_SCALE)
    if label := _first(held, f"{_SCORE}.label"):
        return Category(label)
    if _first(held, _WORDS):
        return None
    raise InvalidArgument(
        "the evaluation has no score, no label and no explanation",
        reason="MISSING_ATTRIBUTE",
        field=f"{_SCORE}.value",
    )


def _value(held: Mapping[str, Any]) -> float | None:
    """Yes and no are 1 and 0."""
    score = held.get(f"{_SCORE}.value")
    return float(score) if isinstance(score, bool) else _number(held, f"{_SCORE}.value")


def _number(held: Mapping[str, Any], name: str) -> float | None:
    value = held.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidArgument(f"{name} must be a number", reason="INVALID_ATTRIBUTE", field=name)
    return float(value)


def _first(held: Mapping[str, Any], *names: str) -> str:
    return next((str(held[name]) for name in names if held.get(name) not in (None, "")), "")
