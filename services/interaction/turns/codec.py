"""Accepted items -> events; refusals, conversations, labels and scores <-> protobuf.

Turns, feedback and pairs have their codecs in shared.contracts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from services.interaction.turns.domain.acceptance import Refusal
from services.interaction.turns.domain.conversations import Conversation, Label, Score
from services.interaction.turns.ports import Item
from shared.contracts.assessments import decode_assessment, encode_assessment
from shared.contracts.messages import write_time
from shared.contracts.opinions import encode_feedback
from shared.contracts.pairs import encode_pair
from shared.contracts.turns import write_turn
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.interaction.v1 import interaction_pb2
from shared.language.assessments import Assessment
from shared.language.errors import InvalidArgument, status_of
from shared.language.identifiers import check_segment, conversation_name, user_name
from shared.language.opinions import ExplicitFeedback
from shared.language.pairs import Pair
from shared.language.times import now
from shared.language.topics import (
    ASSESSMENT_GIVEN,
    FEEDBACK_GIVEN,
    INTERACTION_LOGGED,
    PREFERENCE_GIVEN,
)
from shared.language.turns import Turn
from shared.language.verdicts import FollowUpKind, dissatisfaction_of
from shared.log.events import Event
from shared.telemetry.spans import trace_headers

_SOURCE = "interaction"
_KIND, _SAID_BY = "FOLLOW_UP_KIND_", "FEEDBACK_SOURCE_"


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


def events_of(items: Sequence[Item]) -> list[Event]:
    """The events of accepted items, all of the current trace. The same item gets the same id."""
    headers = trace_headers()
    return [event_of(item, headers) for item in items]


def event_of(item: Item, headers: Mapping[str, str] = MappingProxyType({})) -> Event:
    if isinstance(item, Turn):
        topic, key = INTERACTION_LOGGED, conversation_name(item.tenant, item.conversation_id)
        logged = events_pb2.InteractionLogged()
        write_turn(item, logged.turn)
        value = logged.SerializeToString()
    elif isinstance(item, Pair):
        topic, key = PREFERENCE_GIVEN, item.key
        value = events_pb2.PreferenceGiven(pair=encode_pair(item)).SerializeToString()
    elif isinstance(item, Assessment):
        topic, key = ASSESSMENT_GIVEN, item.target
        given = events_pb2.AssessmentGiven(assessment=encode_assessment(item))
        value = given.SerializeToString()
    else:
        topic, key = FEEDBACK_GIVEN, item.target
        value = events_pb2.FeedbackGiven(feedback=encode_feedback(item)).SerializeToString()
    time = item.create_time or now()
    return Event(topic, item.event_id, key, value, _SOURCE, time, headers, _owner(item))


def _owner(item: Item) -> str:
    """Feedback or an assessment without a user belongs to what it is about, and is erased with that user."""
    if item.user_id:
        return user_name(item.tenant, item.user_id)
    return item.target if isinstance(item, ExplicitFeedback | Assessment) else ""


def decode_label(value: bytes) -> Label:
    """The label in a `feedback.mined.v1` record: where it comes from, and, unless it abstained, its kind and
    what that kind says of the user."""
    mined = events_pb2.FeedbackMined.FromString(value)
    source = events_pb2.FeedbackSource.Name(mined.source).removeprefix(_SAID_BY).lower()
    names = [source] if source in ("explicit", "hindsight") else []
    if mined.kind and not mined.abstained:
        kind = events_pb2.FollowUpKind.Name(mined.kind).removeprefix(_KIND).lower()
        names += [kind, *_satisfaction(kind)]
    return Label(
        tenant=check_segment(mined.tenant, "tenant"),
        feedback_id=check_segment(mined.feedback_id, "feedback_id"),
        conversation_id=mined.conversation_id,
        turn_id=mined.answer_turn_id,
        user_id=mined.user_id,
        names=tuple(names),
        labelled_us=mined.create_time.ToMicroseconds(),
        replaces=tuple(mined.replaces),
    )


def _satisfaction(kind: str) -> list[str]:
    """Dissatisfied by the one definition; satisfied only by praise or a good rating, as a new request says
    little."""
    if dissatisfaction_of(kind) == 1.0:
        return ["dissatisfied"]
    return ["satisfied"] if kind == FollowUpKind.POSITIVE else []


def decode_given_assessment(value: bytes) -> Assessment:
    """The assessment in an `assessment.given.v1` record. Others can write to the topic, too."""
    given = decode_assessment(events_pb2.AssessmentGiven.FromString(value).assessment)
    check_segment(given.tenant, "tenant")
    check_segment(given.assessment_id, "assessment_id")
    return given


def decode_score(value: bytes) -> Score:
    """The score in a `reward.scored.v1` record. InvalidArgument if it is not a number."""
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
