"""Turns, feedback, refusals and conversations <-> protobuf; accepted items -> events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from google.protobuf.timestamp_pb2 import Timestamp

from services.interaction.domain import (
    Category,
    Conversation,
    Demonstration,
    Feedback,
    Label,
    Preference,
    Rating,
    Refusal,
    Score,
    Turn,
    Value,
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
from shared.language.errors import InvalidArgument, TrimtabError, status_of
from shared.language.identifiers import check_segment, conversation_name, user_name
from shared.language.times import now
from shared.language.topics import FEEDBACK_GIVEN, INTERACTION_LOGGED, PREFERENCE_GIVEN
from shared.log.events import Event
from shared.telemetry.spans import trace_headers

_SOURCE = "interaction"
_KIND, _SAID_BY = "FOLLOW_UP_KIND_", "FEEDBACK_SOURCE_"
# The share of dissatisfaction from which a user counts as dissatisfied.
_DISSATISFIED = 0.5


def decode_turns(turns: Sequence[pb.Turn]) -> list[Turn | TrimtabError]:
    """Each turn, or why it could not be read."""
    return [_attempt_turn(turn) for turn in turns]


def decode_turn(turn: pb.Turn) -> Turn:
    """InvalidArgument names the field that cannot be read."""
    return Turn(
        tenant=turn.tenant,
        conversation_id=turn.conversation_id,
        index=turn.index,
        message=decode_message(turn.message),
        user_id=turn.user_id,
        turn_id=turn.turn_id,
        model_version=turn.model_version,
        completion_id=turn.completion_id,
        create_time=_decode_time(turn, turn.create_time),
        channel=turn.channel,
        metadata=dict(turn.metadata) if turn.metadata else {},
        signal=decode_signal(turn.signal),
        replaces_turn_id=turn.replaces_turn_id,
    )


def encode_turn(turn: Turn) -> pb.Turn:
    encoded = pb.Turn()
    _write_turn(turn, encoded)
    return encoded


def _write_turn(turn: Turn, into: pb.Turn) -> None:
    into.name = turn.name
    into.tenant = turn.tenant
    into.conversation_id = turn.conversation_id
    into.index = turn.index
    into.turn_id = turn.turn_id
    write_message(turn.message, into.message)
    into.user_id = turn.user_id
    into.model_version = turn.model_version
    into.completion_id = turn.completion_id
    into.channel = turn.channel
    if turn.metadata:
        into.metadata.update(turn.metadata)
    into.signal = encode_signal(turn.signal)
    into.replaces_turn_id = turn.replaces_turn_id
    if turn.create_time:
        write_time(turn.create_time, into.create_time)


def decode_feedback(items: Sequence[pb.ExplicitFeedback]) -> list[Feedback | TrimtabError]:
    return [_attempt_feedback(item) for item in items]


def encode_feedback(feedback: Feedback) -> pb.ExplicitFeedback:
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


def encode_refusal(refusal: Refusal) -> interaction_pb2.Refusal:
    error = refusal.error
    return interaction_pb2.Refusal(
        position=refusal.position,
        code=status_of(error).code,
        reason=error.reason,
        message=error.message,
        field=error.field,
    )


def encode_conversation(conversation: Conversation) -> interaction_pb2.Conversation:
    encoded = interaction_pb2.Conversation(
        name=conversation.name,
        conversation_id=conversation.conversation_id,
        user_id=conversation.user_id,
        channel=conversation.channel,
        turn_count=conversation.turn_count,
        model_versions=conversation.model_versions,
    )
    write_time(conversation.create_time, encoded.create_time)
    write_time(conversation.update_time, encoded.update_time)
    return encoded


def decode_preferences(
    pairs: Sequence[events_pb2.PreferencePair],
) -> list[Preference | TrimtabError]:
    return [_attempt_preference(pair) for pair in pairs]


def encode_preference(preference: Preference) -> events_pb2.PreferencePair:
    encoded = events_pb2.PreferencePair(
        pair_id=preference.pair_id,
        tenant=preference.tenant,
        user_id=preference.user_id,
        conversation_id=preference.conversation_id,
        source=encode_pair_source(preference.source),
        prompt=[encode_message(message) for message in preference.prompt],
        chosen=encode_message(preference.chosen),
        rejected=encode_message(preference.rejected),
        model_version=preference.model_version,
        evidence=preference.evidence,
        feedback_text=preference.feedback_text,
    )
    if preference.create_time:
        write_time(preference.create_time, encoded.create_time)
    return encoded


def events_of(items: Sequence[Turn | Feedback | Preference]) -> list[Event]:
    """The events of accepted items, all of the current trace; the same item makes the same id."""
    headers = trace_headers()
    return [event_of(item, headers) for item in items]


def event_of(
    item: Turn | Feedback | Preference, headers: Mapping[str, str] = MappingProxyType({})
) -> Event:
    if isinstance(item, Turn):
        topic, key = INTERACTION_LOGGED, conversation_name(item.tenant, item.conversation_id)
        logged = events_pb2.InteractionLogged()
        _write_turn(item, logged.turn)
        value = logged.SerializeToString()
    elif isinstance(item, Preference):
        topic, key = PREFERENCE_GIVEN, item.key
        value = events_pb2.PreferenceGiven(pair=encode_preference(item)).SerializeToString()
    else:
        topic, key = FEEDBACK_GIVEN, item.target
        value = events_pb2.FeedbackGiven(feedback=encode_feedback(item)).SerializeToString()
    time = item.create_time or now()
    return Event(topic, item.event_id, key, value, _SOURCE, time, headers, _owner(item))


def _owner(item: Turn | Feedback | Preference) -> str:
    """Feedback of nobody in particular belongs to what it is about: an erasure of the user there
    takes it along."""
    if item.user_id:
        return user_name(item.tenant, item.user_id)
    return item.target if isinstance(item, Feedback) else ""


def decode_logged(value: bytes) -> Turn:
    """The turn of an `interaction.logged.v1` record. DecodeError or InvalidArgument if none."""
    return decode_turn(events_pb2.InteractionLogged.FromString(value).turn)


def decode_label(value: bytes) -> Label:
    """What a `feedback.mined.v1` record says: the follow-up's kind unless it abstained, and whether
    the user was satisfied. Of what is neither praise nor explicit, contentment is not claimed."""
    mined = events_pb2.FeedbackMined.FromString(value)
    source = events_pb2.FeedbackSource.Name(mined.source).removeprefix(_SAID_BY).lower()
    praise = source == "explicit" or mined.kind == events_pb2.FOLLOW_UP_KIND_POSITIVE
    names = [source] if source in ("explicit", "hindsight") else []
    if mined.kind and not mined.abstained:
        names.append(events_pb2.FollowUpKind.Name(mined.kind).removeprefix(_KIND).lower())
    if not mined.abstained and mined.dissatisfaction >= _DISSATISFIED:
        names.append("dissatisfied")
    elif not mined.abstained and praise:
        names.append("satisfied")
    return Label(
        tenant=check_segment(mined.tenant, "tenant"),
        feedback_id=check_segment(mined.feedback_id, "feedback_id"),
        conversation_id=mined.conversation_id,
        turn_id=mined.answer_turn_id,
        user_id=mined.user_id,
        names=tuple(names),
        replaces=tuple(mined.replaces),
    )


def decode_score(value: bytes) -> Score:
    """What a `reward.scored.v1` record says. InvalidArgument if it is no number."""
    scored = events_pb2.RewardScored.FromString(value)
    if not math.isfinite(scored.reward):
        raise InvalidArgument("reward is not a number", reason="INVALID_SCORE", field="reward")
    return Score(
        tenant=check_segment(scored.tenant, "tenant"),
        conversation_id=scored.conversation_id,
        turn_id=scored.turn_id,
        user_id=scored.user_id,
        value=scored.reward,
        scored_us=scored.create_time.ToMicroseconds(),
        model=scored.reward_model,
    )


def _attempt_turn(turn: pb.Turn) -> Turn | TrimtabError:
    try:
        return decode_turn(turn)
    except TrimtabError as error:
        return error


def _attempt_feedback(item: pb.ExplicitFeedback) -> Feedback | TrimtabError:
    try:
        return Feedback(
            tenant=item.tenant,
            value=_decode_value(item),
            feedback_id=item.feedback_id,
            completion_id=item.completion_id,
            conversation_id=item.conversation_id,
            turn_id=item.turn_id,
            user_id=item.user_id,
            comment=item.comment,
            create_time=_decode_time(item, item.create_time),
            index=item.index if item.HasField("index") else None,
            replaces=item.mode == pb.FEEDBACK_MODE_REPLACE,
        )
    except TrimtabError as error:
        return error


def _attempt_preference(pair: events_pb2.PreferencePair) -> Preference | TrimtabError:
    try:
        return Preference(
            tenant=pair.tenant,
            user_id=pair.user_id,
            source=_source_of(pair.source),
            prompt=tuple(
                decode_message(message, f"prompt[{place}]")
                for place, message in enumerate(pair.prompt)
            ),
            chosen=decode_message(pair.chosen, "chosen"),
            rejected=decode_message(pair.rejected, "rejected"),
            pair_id=pair.pair_id,
            conversation_id=pair.conversation_id,
            model_version=pair.model_version,
            evidence=tuple(pair.evidence),
            feedback_text=pair.feedback_text,
            create_time=_decode_time(pair, pair.create_time),
        )
    except TrimtabError as error:
        return error


def _source_of(number: int) -> str:
    """The name of a PairSource in lower case; "" for one that is not known."""
    known = events_pb2.PairSource.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix("PAIR_SOURCE_").lower() if known else ""


def _decode_value(item: pb.ExplicitFeedback) -> Value | None:
    match item.WhichOneof("value"):
        case "thumbs_up":
            return item.thumbs_up
        case "rating":
            return Rating(item.rating.value, item.rating.min, item.rating.max)
        case "category":
            return Category(item.category)
        case "demonstration":
            return Demonstration(item.demonstration)
    return None


def _decode_time(
    owner: pb.Turn | pb.ExplicitFeedback | events_pb2.PreferencePair, time: Timestamp
) -> datetime | None:
    if not owner.HasField("create_time"):
        return None
    try:
        return decode_time(time)
    except OverflowError as error:
        raise InvalidArgument(
            f"create_time cannot be read: {error}", reason="ABSURD_TIME", field="create_time"
        ) from error
