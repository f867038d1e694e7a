"""Domain <-> protobuf."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from services.registry.domain import (
    Change,
    Observation,
    Policy,
    Promotion,
    Registration,
    Rollout,
    State,
    Version,
)
from shared.contracts.estimates import encode_estimate
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.language.errors import InvalidArgument
from shared.language.identifiers import parse_name, stable_id
from shared.language.topics import MODEL_PROMOTED
from shared.log.events import Event
from shared.telemetry.spans import trace_headers


def encode_version(version: Version) -> pb.ModelVersion:
    encoded = pb.ModelVersion(
        name=f"modelVersions/{version.version}",
        version=version.version,
        served_name=version.served_name,
        state=_state(version.state),
        adapter_path=version.adapter_path,
        adapter_digest=version.adapter_digest,
        snapshot_digest=version.snapshot_digest,
        run=version.run,
        parent=version.parent,
        mlflow_version=version.mlflow_version,
        changes=[_encode_change(change) for change in version.changes],
    )
    encoded.create_time.FromDatetime(version.create_time)
    return encoded


def encode_rollout(
    rollout: Rollout, champion: Version, canary: Version | None, policy: Policy
) -> pb.Rollout:
    encoded = pb.Rollout(
        revision=rollout.revision,
        champion=encode_version(champion),
        canary_share=rollout.canary_share,
        log_e_better=rollout.test.log_e_better,
        log_e_worse=rollout.test.log_e_worse,
        log_threshold=policy.log_threshold,
        words=rollout.words,
    )
    encoded.update_time.FromDatetime(rollout.update_time)
    # After a rollout the champion may not be the one that was compared; `words` says which were.
    if canary:
        encoded.canary.CopyFrom(encode_version(canary))
        encoded.canary_dissatisfaction.CopyFrom(encode_estimate(rollout.on_canary))
        encoded.champion_dissatisfaction.CopyFrom(encode_estimate(rollout.on_champion))
    return encoded


def decode_registration(request: pb.RegisterVersionRequest) -> Registration:
    return Registration(
        request_id=request.request_id,
        adapter_path=request.adapter_path,
        snapshot_digest=request.snapshot_digest,
        run=request.run,
        parent=decode_version_id(request.parent) if request.parent else "",
        control=request.control,
        tags=dict(request.tags),
    )


def decode_version_id(name: str) -> str:
    """Takes `modelVersions/assistant-v3` and `assistant-v3`."""
    return parse_name(name, "modelVersions/*" if "/" in name else "*")[0]


def decode_observation(value: bytes) -> Observation:
    """Raises DecodeError, or InvalidArgument for feedback without user or time."""
    mined = events_pb2.FeedbackMined.FromString(value)
    if not mined.user_id or not mined.HasField("create_time"):
        raise InvalidArgument("the feedback has no user or no time", reason="INCOMPLETE_FEEDBACK")
    return Observation(
        user=f"{mined.tenant}/{mined.user_id}",
        model_version=mined.model_version,
        source=_short(events_pb2.FeedbackSource.Name(mined.source), "FEEDBACK_SOURCE_"),
        kind=_short(events_pb2.FollowUpKind.Name(mined.kind), "FOLLOW_UP_KIND_"),
        abstained=mined.abstained,
        time=mined.create_time.ToDatetime(tzinfo=UTC),
    )


def encode_promotion(promotion: Promotion) -> Event:
    rollout = promotion.rollout
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
    )
    message.create_time.FromDatetime(promotion.time)
    return Event(
        topic=MODEL_PROMOTED,
        id=stable_id("promoted", promotion.version, promotion.state, str(rollout.revision)),
        key="modelVersions",
        value=message.SerializeToString(),
        source="registry",
        time=_utc(promotion.time),
        headers={**trace_headers()},
    )


def _encode_change(change: Change) -> pb.StateChange:
    encoded = pb.StateChange(state=_state(change.state), actor=change.actor, reason=change.reason)
    encoded.time.FromDatetime(change.time)
    return encoded


def _state(state: State) -> pb.VersionState.ValueType:
    return pb.VersionState.Value(f"VERSION_STATE_{state.name}")


def _short(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)
