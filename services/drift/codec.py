"""Drift's domain <-> protobuf."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from services.drift.domain import (
    Alarm,
    Bucket,
    Interval,
    MinedFollowUp,
    ScoredAnswer,
    StreamKey,
    StreamState,
)
from shared.contracts.estimates import decode_estimate, encode_estimate
from shared.contracts.messages import decode_time
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.drift.v1 import drift_pb2 as pb
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.errors import InvalidArgument
from shared.language.estimates import Estimate

ALARM_NAME = "alarms/*"
_PREFIX = "FOLLOW_UP_KIND_"


def follow_up(mined: events.FeedbackMined) -> MinedFollowUp:
    """Raises InvalidArgument for an event without tenant, conversation or a known kind."""
    _require(mined.tenant, "tenant")
    _require(mined.conversation_id, "conversation_id")
    if mined.kind not in events.FollowUpKind.values():
        raise InvalidArgument(f"kind {mined.kind} is unknown", field="kind")
    if mined.source not in events.FeedbackSource.values():
        raise InvalidArgument(f"source {mined.source} is unknown", field="source")
    return MinedFollowUp(
        feedback_id=mined.feedback_id,
        tenant=mined.tenant,
        user_id=mined.user_id,
        conversation_id=mined.conversation_id,
        model_version=mined.model_version,
        source=events.FeedbackSource.Name(mined.source).removeprefix("FEEDBACK_SOURCE_").lower(),
        abstained=mined.abstained,
        kind=events.FollowUpKind.Name(mined.kind).removeprefix(_PREFIX).lower(),
        request_embedding=tuple(mined.request_embedding),
        time=decode_time(mined.create_time),
        groups=tuple(mined.groups),
    )


def scored_answer(scored: events.RewardScored) -> ScoredAnswer:
    """Raises InvalidArgument without tenant or conversation, or if the reward is not a finite number."""
    _require(scored.tenant, "tenant")
    _require(scored.conversation_id, "conversation_id")
    if scored.reward != scored.reward or abs(scored.reward) == float("inf"):
        raise InvalidArgument("reward is not a finite number", field="reward")
    return ScoredAnswer(
        turn_id=f"{scored.conversation_id}/{scored.turn_id}",
        tenant=scored.tenant,
        user_id=scored.user_id,
        conversation_id=scored.conversation_id,
        model_version=scored.model_version,
        reward=scored.reward,
        reward_model=scored.reward_model,
        time=decode_time(scored.create_time),
        groups=tuple(scored.groups),
    )


def alarm_message(alarm: Alarm) -> events.Alarm:
    return events.Alarm(
        name=f"alarms/{alarm.alarm_id}",
        stream=alarm.key.stream,
        tenant=alarm.key.tenant,
        model_version=alarm.key.model_version,
        direction=alarm.direction,
        detector=alarm.detector,
        log_e=alarm.log_e,
        log_threshold=alarm.log_threshold,
        reference_mean=alarm.reference_mean,
        current=estimate(alarm.key.stream, alarm.current),
        observations=alarm.observations,
        since_change=alarm.since_change,
        change_time=timestamp(alarm.change_time),
        create_time=timestamp(alarm.create_time),
        guarantee=alarm.guarantee,
        examples=alarm.examples,
        group=alarm.key.group,
    )


def alarm_of(message: events.Alarm) -> Alarm:
    """The inverse of `alarm_message`."""
    return Alarm(
        alarm_id=message.name.rpartition("/")[2],
        key=StreamKey(message.stream, message.tenant, message.model_version, message.group),
        direction=message.direction,
        detector=message.detector,
        log_e=message.log_e,
        log_threshold=message.log_threshold,
        reference_mean=message.reference_mean,
        current=_interval(message.current),
        observations=message.observations,
        since_change=message.since_change,
        change_time=decode_time(message.change_time),
        create_time=decode_time(message.create_time),
        guarantee=message.guarantee,
        examples=tuple(message.examples),
    )


def estimate(name: str, interval: Interval) -> common.Estimate:
    return encode_estimate(Estimate(name=name, **asdict(interval), suite="drift"))


def _interval(message: common.Estimate) -> Interval:
    found = decode_estimate(message)
    return Interval(
        found.value,
        found.low,
        found.high,
        found.confidence,
        found.count,
        found.users,
        found.method,
    )


def stream_message(state: StreamState, log_e: float, log_threshold: float) -> pb.Stream:
    return pb.Stream(
        stream=state.key.stream,
        tenant=state.key.tenant,
        model_version=state.key.model_version,
        state=state.phase,
        observations=state.observations,
        reference_observations=state.reference.count if state.reference else state.position,
        reference_mean=state.reference.mean if state.reference else 0.0,
        log_e=log_e,
        log_threshold=log_threshold,
        group=state.key.group,
    )


def bucket_message(bucket: Bucket) -> pb.Bucket:
    return pb.Bucket(
        start_time=timestamp(bucket.start),
        model_version=bucket.model_version,
        count=bucket.count,
        sum=bucket.sum,
        users=bucket.users,
    )


def timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def _require(value: str, field: str) -> None:
    if not value:
        raise InvalidArgument(f"{field} is empty", field=field)
