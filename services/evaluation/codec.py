"""Evaluation's domain <-> protobuf."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from services.evaluation.app import check_suites
from services.evaluation.domain import Evaluation, Figure, HeldOutPair, Request, Version
from shared.contracts.messages import decode_message
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2 as pb
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.errors import InvalidArgument
from shared.language.identifiers import stable_id
from shared.language.topics import EVALUATION_COMPLETED
from shared.log.events import Event
from shared.telemetry.spans import trace_headers


def decode_request(evaluation: str, tenant: str, request: pb.EvaluateRequest) -> Request:
    """Raises InvalidArgument naming the field that is missing or wrong."""
    for field in ("model_version", "served_name"):
        if not getattr(request, field):
            raise InvalidArgument(f"{field} is empty", reason="FIELD_MISSING", field=field)
    champion = None
    if request.champion_version:
        served = request.champion_served_name or request.champion_version
        champion = Version(request.champion_version, served, request.champion_adapter_path)
    return Request(
        evaluation=evaluation,
        tenant=tenant,
        model=Version(request.model_version, request.served_name, request.adapter_path),
        champion=champion,
        controls=tuple(
            Version(c.model_version, c.served_name or c.model_version, c.adapter_path)
            for c in request.controls
        ),
        suites=check_suites(request.suites),
        held_out=tuple(
            _pair(p, f"held_out_pairs[{i}]") for i, p in enumerate(request.held_out_pairs)
        ),
    )


def encode_evaluation(evaluation: Evaluation) -> pb.Evaluation:
    message = pb.Evaluation(
        name=evaluation.name,
        model_version=evaluation.model_version,
        champion_version=evaluation.champion_version,
        estimates=encode_figures(evaluation.figures),
        reward_model=evaluation.reward_model,
        mlflow_run_id=evaluation.mlflow_run_id,
    )
    message.create_time.FromDatetime(evaluation.create_time)
    return message


def encode_figures(figures: Sequence[Figure]) -> list[common.Estimate]:
    return [
        common.Estimate(
            name=figure.name,
            value=figure.value,
            low=figure.low,
            high=figure.high,
            confidence=0.95,
            count=figure.count,
            users=figure.users,
            suite=figure.suite,
            method=figure.method,
        )
        for figure in figures
    ]


def completed_event(evaluation: Evaluation, now: datetime) -> Event:
    message = events.EvaluationCompleted(
        evaluation=evaluation.name,
        model_version=evaluation.model_version,
        champion_version=evaluation.champion_version,
        estimates=encode_figures(evaluation.figures),
    )
    message.create_time.FromDatetime(evaluation.create_time)
    return Event(
        topic=EVALUATION_COMPLETED,
        id=stable_id("evaluation.completed", evaluation.name),
        key=evaluation.model_version,
        value=message.SerializeToString(),
        source="evaluation",
        time=now,
        headers=trace_headers(),
    )


def _pair(pair: events.PreferencePair, field: str) -> HeldOutPair:
    if not pair.prompt:
        raise InvalidArgument(f"{field}.prompt is empty", field=f"{field}.prompt")
    return HeldOutPair(
        pair.user_id,
        tuple(decode_message(m, f"{field}.prompt[{i}]") for i, m in enumerate(pair.prompt)),
        decode_message(pair.chosen, f"{field}.chosen").text,
        decode_message(pair.rejected, f"{field}.rejected").text,
    )
