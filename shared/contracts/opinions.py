"""ExplicitFeedback <-> trimtab.common.v1.ExplicitFeedback: the one codec."""

from __future__ import annotations

from shared.contracts.messages import decode_create_time, write_time
from shared.gen.trimtab.common.v1 import common_pb2 as pb
from shared.language.opinions import Category, Demonstration, ExplicitFeedback, Rating, Value


def decode_feedback(given: pb.ExplicitFeedback) -> ExplicitFeedback:
    """Raises InvalidArgument if its time cannot be read. The accepting service checks that it is complete."""
    return ExplicitFeedback(
        tenant=given.tenant,
        value=_decode_value(given),
        feedback_id=given.feedback_id,
        completion_id=given.completion_id,
        conversation_id=given.conversation_id,
        turn_id=given.turn_id,
        user_id=given.user_id,
        comment=given.comment,
        create_time=decode_create_time(given),
        index=given.index if given.HasField("index") else None,
        replaces=given.mode == pb.FEEDBACK_MODE_REPLACE,
    )


def encode_feedback(feedback: ExplicitFeedback) -> pb.ExplicitFeedback:
    encoded = pb.ExplicitFeedback(
        feedback_id=feedback.feedback_id,
        tenant=feedback.tenant,
        completion_id=feedback.completion_id,
        conversation_id=feedback.conversation_id,
        turn_id=feedback.turn_id,
        user_id=feedback.user_id,
        comment=feedback.comment,
        mode=pb.FEEDBACK_MODE_REPLACE if feedback.replaces else pb.FEEDBACK_MODE_ADD,
        index=feedback.index,
    )
    match feedback.value:
        case bool(thumbs_up):
            encoded.thumbs_up = thumbs_up
        case Rating(value, low, high):
            encoded.rating.CopyFrom(pb.Rating(value=value, min=low, max=high))
        case Category(name):
            encoded.category = name
        case Demonstration(text):
            encoded.demonstration = text
    if feedback.create_time:
        write_time(feedback.create_time, encoded.create_time)
    return encoded


def _decode_value(given: pb.ExplicitFeedback) -> Value | None:
    match given.WhichOneof("value"):
        case "thumbs_up":
            return given.thumbs_up
        case "rating":
            return Rating(given.rating.value, given.rating.min, given.rating.max)
        case "category":
            return Category(given.category)
        case "demonstration":
            return Demonstration(given.demonstration)
    return None
