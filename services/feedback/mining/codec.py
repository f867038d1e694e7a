"""Turns, explicit feedback, what is mined and judgements <-> protobuf, and the events that are published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from services.feedback.mining.app.agreement import Agreement
from services.feedback.mining.domain import (
    FollowUpStep,
    Judgement,
    JudgementState,
    Label,
    Mined,
    Signals,
    Source,
)
from services.feedback.mining.ports import Waiting
from shared.contracts.estimates import encode_estimate
from shared.contracts.messages import decode_message, encode_message
from shared.contracts.opinions import decode_feedback, encode_feedback
from shared.contracts.turns import decode_logged
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.language import topics
from shared.language.errors import InvalidArgument
from shared.language.estimates import Estimate
from shared.language.identifiers import check_segment, conversation_name, user_name
from shared.language.opinions import ExplicitFeedback
from shared.language.turns import Turn
from shared.language.verdicts import FollowUpKind
from shared.log.events import Event
from shared.telemetry.spans import trace_headers

SOURCE = "feedback"
# Of what a producer logged without a time.
_UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)
K = TypeVar("K")

_KINDS = {kind: events.FollowUpKind.Value(f"FOLLOW_UP_KIND_{kind.name}") for kind in FollowUpKind}
_SOURCES = {
    source: events.FeedbackSource.Value(f"FEEDBACK_SOURCE_{source.name}") for source in Source
}
_STEPS = {step: events.FollowUpStep.Value(f"FOLLOW_UP_STEP_{step.name}") for step in FollowUpStep}
_STATES = {
    state: pb.JudgementState.Value(f"JUDGEMENT_STATE_{state.name}") for state in JudgementState
}


def decode_turn(value: bytes) -> Turn:
    """Raises DecodeError or InvalidArgument: the record goes to the dead letters."""
    turn = decode_logged(value)
    if turn.index < 0:
        raise InvalidArgument(
            "the index must not be negative", reason="INVALID_INDEX", field="turn.index"
        )
    for name in ("tenant", "conversation_id", "turn_id", "user_id"):
        check_segment(getattr(turn, name), f"turn.{name}")
    return turn if turn.create_time else replace(turn, create_time=_UNKNOWN_TIME)


def decode_explicit(value: bytes) -> ExplicitFeedback:
    """Raises DecodeError or InvalidArgument: the record goes to the dead letters."""
    given = decode_feedback(events.FeedbackGiven.FromString(value).feedback)
    if not given.completion_id and not given.conversation_id:
        raise InvalidArgument(
            "the feedback names neither a completion nor a conversation: give one",
            reason="NO_TARGET",
            field="feedback",
        )
    for name in ("feedback_id", "tenant"):
        check_segment(getattr(given, name), f"feedback.{name}")
    return given if given.create_time else replace(given, create_time=_UNKNOWN_TIME)


def owner_of(explicit: ExplicitFeedback) -> str:
    """Whose data it is: the user's, or of whomever it is about."""
    return user_name(explicit.tenant, explicit.user_id) if explicit.user_id else explicit.target


def encode_mined(mined: Mined) -> events.FeedbackMined:
    return events.FeedbackMined(
        feedback_id=mined.feedback_id,
        tenant=mined.tenant,
        user_id=mined.user_id,
        conversation_id=mined.conversation_id,
        answer_turn_id=mined.answer_turn_id,
        follow_up_turn_id=mined.follow_up_turn_id,
        model_version=mined.model_version,
        source=_SOURCES[mined.source],
        kind=_KINDS[mined.label.kind],
        probabilities=mined.label.probabilities,
        abstained=mined.label.abstained,
        abstain_reason=mined.label.abstain_reason,
        dissatisfaction=mined.label.dissatisfaction,
        context=[encode_message(message) for message in mined.context],
        answer=encode_message(mined.answer) if mined.answer else None,
        follow_up=mined.follow_up,
        request_embedding=mined.request_embedding,
        create_time=timestamp(mined.create_time),
        replaces=mined.replaces,
        step=_STEPS[mined.step] if mined.step else events.FOLLOW_UP_STEP_UNSPECIFIED,
        satisfaction=mined.satisfaction,
        about=mined.about,
        signals=_encode_signals(mined.signals) if mined.signals else None,
        inherits_from=mined.inherits_from,
        head=mined.label.head,
        policy=mined.policy,
        groups=mined.groups,
        kind_before=_KINDS[mined.kind_before]
        if mined.kind_before
        else events.FOLLOW_UP_KIND_UNSPECIFIED,
    )


def decode_mined(value: bytes, channel: str) -> Mined:
    mined = events.FeedbackMined.FromString(value)
    label = Label(
        key_of(_KINDS, mined.kind),
        dict(mined.probabilities),
        mined.dissatisfaction,
        mined.abstain_reason,
        mined.head,
    )
    return Mined(
        feedback_id=mined.feedback_id,
        tenant=mined.tenant,
        user_id=mined.user_id,
        conversation_id=mined.conversation_id,
        source=key_of(_SOURCES, mined.source),
        label=label,
        create_time=moment(mined.create_time),
        answer_turn_id=mined.answer_turn_id,
        follow_up_turn_id=mined.follow_up_turn_id,
        model_version=mined.model_version,
        channel=channel,
        context=tuple(decode_message(message) for message in mined.context),
        answer=decode_message(mined.answer) if mined.HasField("answer") else None,
        follow_up=mined.follow_up,
        request_embedding=tuple(mined.request_embedding),
        replaces=tuple(mined.replaces),
        step=key_of(_STEPS, mined.step) if mined.step else None,
        signals=_decode_signals(mined.signals) if mined.HasField("signals") else None,
        about=mined.about,
        inherits_from=mined.inherits_from,
        policy=mined.policy,
        groups=tuple(mined.groups),
        kind_before=key_of(_KINDS, mined.kind_before) if mined.kind_before else None,
    )


def _encode_signals(signals: Signals) -> events.FollowUpSignals:
    return events.FollowUpSignals(
        similarity=signals.similarity,
        gap_s=signals.gap_s,
        regenerated=signals.regenerated,
        edited=signals.edited,
    )


def _decode_signals(signals: events.FollowUpSignals) -> Signals:
    return Signals(signals.similarity, signals.gap_s, signals.regenerated, signals.edited)


def encode_label(label: Label) -> pb.Label:
    return pb.Label(
        kind=_KINDS[label.kind],
        probabilities=label.probabilities,
        dissatisfaction=label.dissatisfaction,
        abstained=label.abstained,
        head=label.head,
    )


def encode_waiting(waiting: Waiting) -> pb.WaitingFeedback:
    arrived = datetime.fromtimestamp(waiting.arrived, UTC)
    return pb.WaitingFeedback(
        feedback=encode_feedback(waiting.feedback), arrive_time=timestamp(arrived)
    )


def encode_judgement(judgement: Judgement) -> pb.Judgement:
    return pb.Judgement(
        feedback_id=judgement.feedback_id,
        user_id=judgement.user_id,
        conversation_id=judgement.conversation_id,
        label=encode_label(judgement.label),
        abstain_reason=judgement.label.abstain_reason,
        model=judgement.model,
        state=_STATES[judgement.state],
        create_time=timestamp(judgement.create_time),
    )


def encode_agreement(agreement: Agreement) -> common.Estimate | None:
    found = agreement.rate
    if not found.count:
        return None
    return encode_estimate(
        Estimate(
            "judge_agreement",
            found.value,
            found.low,
            found.high,
            found.confidence,
            found.count,
            found.groups,
            method=found.method,
        )
    )


def mined_event(mined: Mined, owner: str) -> Event:
    """`owner`: everyone whose words it holds, as shared.log.events.Event has it."""
    return event(
        topics.FEEDBACK_MINED,
        mined.feedback_id,
        conversation_name(mined.tenant, mined.conversation_id),
        encode_mined(mined).SerializeToString(),
        mined.create_time,
        owner,
    )


def event(topic: str, event_id: str, key: str, value: bytes, time: datetime, owner: str) -> Event:
    return Event(topic, event_id, key, value, SOURCE, time, trace_headers(), owner)


def key_of(table: Mapping[K, Any], number: int) -> K:
    """The key of an enumeration's value. Raises InvalidArgument for one that is not known."""
    for key, value in table.items():
        if value == number:
            return key
    raise InvalidArgument(f"unknown value {number}", reason="UNKNOWN_ENUM_VALUE")


def moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)


def timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
