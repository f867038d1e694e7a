"""domain <-> trimtab.events.v1 and trimtab.feedback.v1, and the events that are published."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from services.feedback.domain import (
    Basis,
    Explicit,
    Kind,
    Label,
    Mined,
    Pair,
    PairSource,
    PairState,
    Persona,
    PersonaChange,
    PersonaLine,
    Rating,
    Signals,
    Source,
    Step,
    StoredPair,
    Turn,
)
from shared.contracts.messages import decode_message, decode_signal, encode_message
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.feedback.v1 import feedback_pb2 as pb
from shared.language import topics
from shared.language.errors import InvalidArgument
from shared.language.identifiers import check_segment, conversation_name, stable_id, user_name
from shared.log.events import Event
from shared.telemetry.spans import trace_headers

SOURCE = "feedback"
K = TypeVar("K")

_KINDS = {kind: events.FollowUpKind.Value(f"FOLLOW_UP_KIND_{kind.name}") for kind in Kind}
_SOURCES = {
    source: events.FeedbackSource.Value(f"FEEDBACK_SOURCE_{source.name}") for source in Source
}
_STEPS = {step: events.FollowUpStep.Value(f"FOLLOW_UP_STEP_{step.name}") for step in Step}
_PAIR_SOURCES = {
    source: events.PairSource.Value(f"PAIR_SOURCE_{source.name}") for source in PairSource
}
_BASES = {basis: events.PersonaBasis.Value(f"PERSONA_BASIS_{basis.name}") for basis in Basis}
_CHANGES = {
    change: events.PersonaChange.Value(f"PERSONA_CHANGE_{change.name}") for change in PersonaChange
}
_PAIR_STATES = {state: pb.PairState.Value(f"PAIR_STATE_{state.name}") for state in PairState}


def decode_turn(value: bytes) -> Turn:
    """Raises DecodeError or InvalidArgument: the record goes to the dead letters."""
    turn = events.InteractionLogged.FromString(value).turn
    if turn.index < 0:
        raise InvalidArgument(
            "index must not be negative", reason="INVALID_INDEX", field="turn.index"
        )
    return Turn(
        tenant=check_segment(turn.tenant, "turn.tenant"),
        conversation_id=check_segment(turn.conversation_id, "turn.conversation_id"),
        index=turn.index,
        turn_id=check_segment(turn.turn_id, "turn.turn_id"),
        message=decode_message(turn.message, "turn.message"),
        user_id=check_segment(turn.user_id, "turn.user_id"),
        create_time=_moment(turn.create_time),
        model_version=turn.model_version,
        completion_id=turn.completion_id,
        channel=turn.channel,
        signal=decode_signal(turn.signal),
        replaces=turn.replaces_turn_id,
        alternative="choice_of" in turn.metadata,
    )


def decode_explicit(value: bytes) -> Explicit:
    """Raises DecodeError or InvalidArgument: the record goes to the dead letters."""
    given = events.FeedbackGiven.FromString(value).feedback
    if not given.completion_id and not given.conversation_id:
        raise InvalidArgument(
            "feedback names neither a completion nor a conversation",
            reason="NO_TARGET",
            field="feedback",
        )
    which = given.WhichOneof("value")
    rating = Rating(given.rating.value, given.rating.min, given.rating.max)
    return Explicit(
        feedback_id=check_segment(given.feedback_id, "feedback.feedback_id"),
        tenant=check_segment(given.tenant, "feedback.tenant"),
        user_id=given.user_id,
        create_time=_moment(given.create_time),
        completion_id=given.completion_id,
        conversation_id=given.conversation_id,
        turn_id=given.turn_id,
        thumbs_up=given.thumbs_up if which == "thumbs_up" else None,
        rating=rating if which == "rating" else None,
        category=given.category,
        demonstration=given.demonstration,
        comment=given.comment,
        index=given.index if given.HasField("index") else None,
        replaces=given.mode == common.FEEDBACK_MODE_REPLACE,
    )


def decode_preference(value: bytes) -> Pair:
    """The pair of a `preference.given.v1` record. Raises DecodeError or InvalidArgument: the record
    goes to the dead letters."""
    given = events.PreferenceGiven.FromString(value).pair
    for name in ("pair_id", "tenant", "user_id"):
        check_segment(getattr(given, name), f"pair.{name}")
    if not given.prompt:
        raise InvalidArgument("the prompt is empty", reason="NO_REQUEST", field="pair.prompt")
    return decode_pair(given.SerializeToString())


def owner_of(explicit: Explicit) -> str:
    """Whose data it is: the user's, or of whomever it is about."""
    if explicit.user_id:
        return user_name(explicit.tenant, explicit.user_id)
    if explicit.conversation_id:
        return conversation_name(explicit.tenant, explicit.conversation_id)
    return f"tenants/{explicit.tenant}/completions/{explicit.completion_id}"


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
    )


def decode_mined(value: bytes, channel: str) -> Mined:
    mined = events.FeedbackMined.FromString(value)
    label = Label(
        _key_of(_KINDS, mined.kind),
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
        source=_key_of(_SOURCES, mined.source),
        label=label,
        create_time=_moment(mined.create_time),
        answer_turn_id=mined.answer_turn_id,
        follow_up_turn_id=mined.follow_up_turn_id,
        model_version=mined.model_version,
        channel=channel,
        context=tuple(decode_message(message) for message in mined.context),
        answer=decode_message(mined.answer) if mined.HasField("answer") else None,
        follow_up=mined.follow_up,
        request_embedding=tuple(mined.request_embedding),
        replaces=tuple(mined.replaces),
        step=_key_of(_STEPS, mined.step) if mined.step else None,
        signals=_decode_signals(mined.signals) if mined.HasField("signals") else None,
        about=mined.about,
        inherits_from=mined.inherits_from,
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


def encode_pair(pair: Pair) -> events.PreferencePair:
    return events.PreferencePair(
        pair_id=pair.pair_id,
        tenant=pair.tenant,
        user_id=pair.user_id,
        conversation_id=pair.conversation_id,
        source=_PAIR_SOURCES[pair.source],
        prompt=[encode_message(message) for message in pair.prompt],
        chosen=encode_message(pair.chosen),
        rejected=encode_message(pair.rejected),
        persona=pair.persona,
        confidence=pair.confidence,
        reward_margin=pair.reward_margin,
        reward_model=pair.reward_model,
        model_version=pair.model_version,
        evidence=pair.evidence,
        feedback_text=pair.feedback_text,
        create_time=timestamp(pair.create_time),
    )


def decode_pair(value: bytes) -> Pair:
    pair = events.PreferencePair.FromString(value)
    return Pair(
        pair_id=pair.pair_id,
        tenant=pair.tenant,
        user_id=pair.user_id,
        conversation_id=pair.conversation_id,
        source=_key_of(_PAIR_SOURCES, pair.source),
        prompt=tuple(decode_message(message) for message in pair.prompt),
        chosen=decode_message(pair.chosen),
        rejected=decode_message(pair.rejected),
        create_time=_moment(pair.create_time),
        persona=pair.persona,
        confidence=pair.confidence,
        reward_margin=pair.reward_margin,
        reward_model=pair.reward_model,
        model_version=pair.model_version,
        evidence=tuple(pair.evidence),
        feedback_text=pair.feedback_text,
    )


def encode_persona(persona: Persona) -> events.Persona:
    return events.Persona(
        tenant=persona.tenant,
        user_id=persona.user_id,
        text=persona.text,
        version=persona.version,
        evidence=persona.evidence,
        update_time=timestamp(persona.update_time),
        lines=[_encode_line(line) for line in persona.lines],
        struck=persona.struck,
        frozen=persona.is_frozen,
        change=_CHANGES[persona.change] if persona.change else events.PERSONA_CHANGE_UNSPECIFIED,
        actor=persona.actor,
    )


def decode_persona(value: bytes) -> Persona:
    persona = events.Persona.FromString(value)
    return Persona(
        persona.tenant,
        persona.user_id,
        persona.text,
        persona.version,
        tuple(persona.evidence),
        _moment(persona.update_time),
        tuple(
            PersonaLine(line.text, _key_of(_BASES, line.basis), tuple(line.evidence), line.used)
            for line in persona.lines
        ),
        tuple(persona.struck),
        persona.frozen,
        _key_of(_CHANGES, persona.change) if persona.change else None,
        persona.actor,
    )


def encode_label(label: Label) -> pb.Label:
    return pb.Label(
        kind=_KINDS[label.kind],
        probabilities=label.probabilities,
        dissatisfaction=label.dissatisfaction,
        abstained=label.abstained,
        head=label.head,
    )


def encode_waiting(value: bytes, arrived: float) -> pb.WaitingFeedback:
    """`value` is a `feedback.given.v1` record; `arrived` in Unix time."""
    given = events.FeedbackGiven.FromString(value).feedback
    arrive_time = timestamp(datetime.fromtimestamp(arrived, UTC))
    return pb.WaitingFeedback(feedback=given, arrive_time=arrive_time)


def encode_stored_pair(stored: StoredPair) -> pb.Pair:
    return pb.Pair(
        pair=encode_pair(stored.pair), state=_PAIR_STATES[stored.state], reason=stored.reason
    )


def mined_event(mined: Mined, owner: str) -> Event:
    """`owner`: everyone whose words it holds, as shared.log.events.Event has it."""
    return _event(
        topics.FEEDBACK_MINED,
        mined.feedback_id,
        conversation_name(mined.tenant, mined.conversation_id),
        encode_mined(mined).SerializeToString(),
        mined.create_time,
        owner,
    )


def proposed_event(pair: Pair, owner: str) -> Event:
    value = events.PreferenceProposed(pair=encode_pair(pair)).SerializeToString()
    return _pair_event(topics.PREFERENCE_PROPOSED, "proposed", pair, value, owner)


def kept_event(pair: Pair, owner: str) -> Event:
    value = events.PreferenceMined(pair=encode_pair(pair)).SerializeToString()
    return _pair_event(topics.PREFERENCE_MINED, "mined", pair, value, owner)


def persona_event(persona: Persona) -> Event:
    return _event(
        topics.PERSONA_UPDATED,
        # Ids and keys stay readable on the topics: no user's id is in them.
        stable_id("persona", persona.tenant, persona.user_id, str(persona.version)),
        stable_id("persona", persona.tenant, persona.user_id),
        events.PersonaUpdated(persona=encode_persona(persona)).SerializeToString(),
        persona.update_time,
        user_name(persona.tenant, persona.user_id),
    )


def _encode_line(line: PersonaLine) -> events.PersonaLine:
    return events.PersonaLine(
        line_id=line.line_id,
        text=line.text,
        basis=_BASES[line.basis],
        evidence=line.evidence,
        used=line.used,
    )


def _pair_event(topic: str, what: str, pair: Pair, value: bytes, owner: str) -> Event:
    key = conversation_name(pair.tenant, pair.conversation_id)
    return _event(topic, f"{pair.pair_id}.{what}", key, value, pair.create_time, owner)


def _event(topic: str, event_id: str, key: str, value: bytes, time: datetime, owner: str) -> Event:
    return Event(topic, event_id, key, value, SOURCE, time, trace_headers(), owner)


def _key_of(table: Mapping[K, Any], number: int) -> K:
    for key, value in table.items():
        if value == number:
            return key
    raise InvalidArgument(f"unknown value {number}", reason="UNKNOWN_ENUM_VALUE")


def _moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)


def timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
