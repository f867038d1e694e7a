"""Redacts items before they are accepted, whoever sent them. The gateway redacts turns before they touch its
disk, but may have an older policy; other callers redact nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from services.interaction.turns.domain.acceptance import Limits
from shared.language.assessments import Assessment
from shared.language.messages import content_of
from shared.language.opinions import Category, Demonstration, ExplicitFeedback
from shared.language.pairs import Pair
from shared.language.turns import Turn
from shared.redaction.redactor import Redaction, Redactor

Item = TypeVar("Item", Turn, ExplicitFeedback, Pair, Assessment)


def redacted(item: Item, tenant: str, redactor: Redactor, limits: Limits) -> Item:
    """The item, redacted by the tenant's policy; the same object if there is nothing to redact. An item that is
    too large to be accepted is returned as it is."""
    if _chars(item) > limits.max_turn_bytes:
        return item
    with redactor.of(tenant) as redaction:
        match item:
            case Turn():
                return redaction.turn(item)
            case ExplicitFeedback():
                return _feedback(item, redaction)
            case Assessment():
                return _assessment(item, redaction)
        return _pair(item, redaction)


def _feedback(feedback: ExplicitFeedback, redaction: Redaction) -> ExplicitFeedback:
    value = feedback.value
    match value:
        case Category(name):
            value = Category(redaction.label(name))
        case Demonstration(text):
            value = Demonstration(redaction.content(text))
    return replace(feedback, value=value, comment=redaction.content(feedback.comment))


def _assessment(assessment: Assessment, redaction: Redaction) -> Assessment:
    return replace(
        assessment,
        label=redaction.label(assessment.label),
        explanation=redaction.content(assessment.explanation),
    )


def _pair(pair: Pair, redaction: Redaction) -> Pair:
    return replace(
        pair,
        prompt=tuple(redaction.message(message) for message in pair.prompt),
        chosen=redaction.message(pair.chosen),
        rejected=redaction.message(pair.rejected),
        feedback_text=redaction.content(pair.feedback_text),
    )


def _chars(item: Turn | ExplicitFeedback | Pair | Assessment) -> int:
    """At most the item's size in bytes."""
    match item:
        case Turn():
            return len(content_of(item.message))
        case ExplicitFeedback():
            said = item.value.text if isinstance(item.value, Demonstration) else ""
            return max(len(said), len(item.comment))
        case Assessment():
            return len(item.label) + len(item.explanation)
    whole = (*item.prompt, item.chosen, item.rejected)
    return sum(len(content_of(message)) for message in whole) + len(item.feedback_text)
