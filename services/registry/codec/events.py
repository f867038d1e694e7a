"""Judged follow-ups from Kafka, and changes of what is served to it."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

from services.registry.domain.answers import Scored
from services.registry.domain.rollouts import Observation
from services.registry.domain.versions import Promotion
from shared.contracts.estimates import encode_estimate
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.errors import InvalidArgument
from shared.language.groups import CONTENT_BEFORE, UNKNOWN
from shared.language.identifiers import stable_id
from shared.language.topics import MODEL_PROMOTED
from shared.language.verdicts import dissatisfaction_of
from shared.log.events import Event
from shared.telemetry.spans import trace_headers


def decode_observation(value: bytes) -> Observation:
    """Raises DecodeError, or InvalidArgument for feedback without user or time."""
    mined = events_pb2.FeedbackMined.FromString(value)
    if not mined.user_id or not mined.HasField("create_time"):
        raise InvalidArgument("the feedback has no user or no time", reason="INCOMPLETE_FEEDBACK")
    return Observation(
        tenant=mined.tenant,
        user=f"{mined.tenant}/{mined.user_id}",
        model_version=mined.model_version,
        source=_short(events_pb2.FeedbackSource.Name(mined.source), "FEEDBACK_SOURCE_"),
        kind=_short(events_pb2.FollowUpKind.Name(mined.kind), "FOLLOW_UP_KIND_"),
        abstained=mined.abstained,
        time=mined.create_time.ToDatetime(tzinfo=UTC),
        groups=_groups(mined),
    )


def decode_score(value: bytes) -> Scored:
    """Raises DecodeError, or InvalidArgument without user or time, or if the reward is no finite number."""
    scored = events_pb2.RewardScored.FromString(value)
    if not scored.user_id or not scored.HasField("create_time"):
        raise InvalidArgument("the reward has no user or no time", reason="INCOMPLETE_REWARD")
    if not math.isfinite(scored.reward):
        raise InvalidArgument("the reward is not a finite number", field="reward")
    return Scored(
        tenant=scored.tenant,
        user=f"{scored.tenant}/{scored.user_id}",
        model_version=scored.model_version,
        reward=scored.reward,
        reward_model=scored.reward_model,
        time=scored.create_time.ToDatetime(tzinfo=UTC),
        groups=tuple(scored.groups),
    )


def _groups(mined: events_pb2.FeedbackMined) -> tuple[str, ...]:
    """A user of no known group who was content may be of a few who lose where the many gain: those are a group
    of their own."""
    known = tuple(mined.groups)
    before = _short(events_pb2.FollowUpKind.Name(mined.kind_before), "FOLLOW_UP_KIND_")
    is_known = any(group != UNKNOWN for group in known)
    return known if is_known or dissatisfaction_of(before) != 0.0 else (*known, CONTENT_BEFORE)


def encode_promotion(promotion: Promotion) -> Event:
    rollout = promotion.rollout
    key = rollout.key
    message = events_pb2.ModelPromoted(
        model_version=promotion.version,
        former_version=promotion.former,
        state=promotion.state,
        reason=promotion.reason,
        actor=promotion.actor,
        estimates=[
            encode_estimate(replace(rollout.on_canary, name="canary_dissatisfaction")),
            encode_estimate(replace(rollout.on_champion, name="champion_dissatisfaction")),
        ],
        tenant=key.tenant,
        policy=key.policy,
    )
    message.create_time.FromDatetime(promotion.time)
    return Event(
        topic=MODEL_PROMOTED,
        id=stable_id(
            "promoted", key.tenant, promotion.version, promotion.state, str(rollout.revision)
        ),
        key=key.name,
        value=message.SerializeToString(),
        source="registry",
        time=_utc(promotion.time),
        headers={**trace_headers()},
    )


def _short(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)
