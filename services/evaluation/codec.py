"""Evaluation's domain <-> protobuf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from services.evaluation.domain import Evaluation, Request, Version, check_suites
from shared.contracts.estimates import encode_estimate
from shared.contracts.pairs import decode_pair, encode_pair
from shared.contracts.people import decode_composition, encode_composition
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.evaluation.v1 import evaluation_pb2 as pb
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.errors import InvalidArgument
from shared.language.estimates import Estimate
from shared.language.examples import Example
from shared.language.identifiers import stable_id, user_id_of
from shared.language.pairs import Pair
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
        composition = decode_composition(request.champion_composition)
        champion = Version(
            request.champion_version, served, request.champion_adapter_path, composition
        )
    return Request(
        evaluation=evaluation,
        tenant=tenant,
        model=Version(request.model_version, request.served_name, request.adapter_path),
        champion=champion,
        controls=tuple(
            Version(
                c.model_version,
                c.served_name or c.model_version,
                c.adapter_path,
                instruction=c.instruction,
                is_probed=c.probed,
            )
            for c in request.controls
        ),
        suites=check_suites(request.suites),
        held_out=tuple(
            _pair(p, f"held_out_pairs[{i}]") for i, p in enumerate(request.held_out_pairs)
        ),
        confidence=_confidence(request.confidence),
    )


def encode_request(request: Request) -> pb.EvaluateRequest:
    """The inverse of `decode_request`, without the request_id, which is part of the evaluation's id."""
    champion = request.champion or Version("", "")
    return pb.EvaluateRequest(
        model_version=request.model.name,
        served_name=request.model.served_name,
        adapter_path=request.model.adapter_path,
        champion_version=champion.name,
        champion_served_name=champion.served_name,
        champion_adapter_path=champion.adapter_path,
        controls=[
            pb.Control(
                model_version=one.name,
                served_name=one.served_name,
                adapter_path=one.adapter_path,
                instruction=one.instruction,
                probed=one.is_probed,
            )
            for one in request.controls
        ],
        suites=request.suites,
        held_out_pairs=[encode_pair(pair) for pair in request.held_out],
        confidence=request.confidence,
        champion_composition=encode_composition(champion.composition)
        if champion.composition
        else None,
    )


def encode_evaluation(evaluation: Evaluation) -> pb.Evaluation:
    message = pb.Evaluation(
        name=evaluation.name,
        model_version=evaluation.model_version,
        champion_version=evaluation.champion_version,
        estimates=encode_estimates(evaluation.estimates),
        reward_model=evaluation.reward_model,
        mlflow_run_id=evaluation.mlflow_run_id,
        examples=[_encode_example(example) for example in evaluation.examples],
    )
    message.create_time.FromDatetime(evaluation.create_time)
    return message


def _encode_example(example: Example) -> pb.Example:
    return pb.Example(
        suite=example.suite,
        prompt=example.prompt,
        answers=[
            pb.ExampleAnswer(model_version=version, text=text)
            for version, text in example.answers.items()
        ],
    )


def encode_estimates(estimates: Sequence[Estimate]) -> list[common.Estimate]:
    return [encode_estimate(estimate) for estimate in estimates]


def completed_event(evaluation: Evaluation, now: datetime) -> Event:
    message = events.EvaluationCompleted(
        evaluation=evaluation.name,
        model_version=evaluation.model_version,
        champion_version=evaluation.champion_version,
        estimates=encode_estimates(evaluation.estimates),
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


def _confidence(asked: float) -> float:
    if not asked:
        return 0.95
    if not 0.5 <= asked < 1.0:
        raise InvalidArgument(
            f"confidence must be in [0.5, 1), got {asked}",
            reason="BAD_CONFIDENCE",
            field="confidence",
        )
    return asked


def _pair(pair: events.PreferencePair, field: str) -> Pair:
    if not pair.prompt:
        raise InvalidArgument(f"{field}.prompt is empty", field=f"{field}.prompt")
    try:
        read = decode_pair(pair)
    except InvalidArgument as error:
        place = f"{field}.{error.field}"
        raise InvalidArgument(error.message, reason=error.reason, field=place) from error
    return replace(read, user_id=user_id_of(read.user_id))
