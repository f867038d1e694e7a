"""Turns, feedback and preferences <-> protobuf."""

from __future__ import annotations

from services.gateway.domain.turns import (
    GivenFeedback,
    LoggedTurn,
    Rating,
    Refused,
    StatedPreference,
)
from shared.contracts.messages import (
    decode_message,
    decode_signal,
    decode_time,
    encode_message,
    encode_pair_source,
    encode_signal,
    write_message,
    write_time,
)
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.interaction.v1 import interaction_pb2


def encode_turn(turn: LoggedTurn) -> pb.Turn:
    encoded = pb.Turn(
        tenant=turn.tenant,
        conversation_id=turn.conversation_id,
        index=turn.index,
        user_id=turn.user_id,
        model_version=turn.model_version,
        completion_id=turn.completion_id,
        channel=turn.channel,
        turn_id=turn.turn_id,
        signal=encode_signal(turn.signal),
        replaces_turn_id=turn.replaces_turn_id,
    )
    write_message(turn.message, encoded.message)
    if turn.metadata:
        encoded.metadata.update(turn.metadata)
    if turn.create_time:
        write_time(turn.create_time, encoded.create_time)
    return encoded


def decode_turn(turn: pb.Turn) -> LoggedTurn:
    return LoggedTurn(
        tenant=turn.tenant,
        conversation_id=turn.conversation_id,
        index=turn.index,
        message=decode_message(turn.message),
        user_id=turn.user_id,
        create_time=decode_time(turn.create_time) if turn.HasField("create_time") else None,
        model_version=turn.model_version,
        completion_id=turn.completion_id,
        channel=turn.channel,
        metadata=dict(turn.metadata),
        turn_id=turn.turn_id,
        signal=decode_signal(turn.signal),
        replaces_turn_id=turn.replaces_turn_id,
    )


def encode_feedback(feedback: GivenFeedback) -> pb.ExplicitFeedback:
    encoded = pb.ExplicitFeedback(
        completion_id=feedback.completion_id,
        conversation_id=feedback.conversation_id,
        turn_id=feedback.turn_id,
        user_id=feedback.user_id,
        comment=feedback.comment,
        feedback_id=feedback.feedback_id,
        index=feedback.index,
        mode=pb.FEEDBACK_MODE_REPLACE if feedback.replaces else pb.FEEDBACK_MODE_ADD,
    )
    match feedback.value:
        case bool(thumbs_up):
            encoded.thumbs_up = thumbs_up
        case Rating(value, low, high):
            encoded.rating.CopyFrom(pb.Rating(value=value, min=low, max=high))
        case str(category):
            encoded.category = category
        case None if feedback.demonstration:
            encoded.demonstration = feedback.demonstration
    if feedback.create_time:
        write_time(feedback.create_time, encoded.create_time)
    return encoded


def encode_preference(preference: StatedPreference) -> events_pb2.PreferencePair:
    encoded = events_pb2.PreferencePair(
        pair_id=preference.pair_id,
        user_id=preference.user_id,
        conversation_id=preference.conversation_id,
        source=encode_pair_source(preference.source),
        prompt=[encode_message(message) for message in preference.prompt],
        chosen=encode_message(preference.chosen),
        rejected=encode_message(preference.rejected),
        model_version=preference.model_version,
        feedback_text=preference.comment,
    )
    if preference.create_time:
        write_time(preference.create_time, encoded.create_time)
    return encoded


def decode_refusal(refusal: interaction_pb2.Refusal) -> Refused:
    return Refused(refusal.position, refusal.reason, refusal.message, refusal.field)
