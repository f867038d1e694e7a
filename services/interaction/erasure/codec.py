"""Audit records -> protobuf; reports of services, decoded."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime

from services.interaction.erasure.domain import Audit, Report
from shared.gen.trimtab.events.v1 import events_pb2
from shared.gen.trimtab.interaction.v1 import user_data_pb2 as pb


def encode_audit(audit: Audit) -> pb.Erasure:
    """The reports of all rounds, combined for each service."""
    encoded = pb.Erasure(
        name=f"erasures/{audit.erasure}",
        state=pb.ERASURE_STATE_COMPLETE if audit.ended else pb.ERASURE_STATE_RUNNING,
        subject=audit.subject,
        actor=audit.actor,
        reports=_encode_reports(audit),
        waiting_for=audit.waiting_for,
        model_versions=audit.model_versions,
        keys_destroyed=audit.keys_destroyed,
    )
    encoded.create_time.FromDatetime(_moment(audit.created))
    if audit.ended:
        encoded.end_time.FromDatetime(_moment(audit.ended))
    return encoded


def decode_report(value: bytes) -> tuple[str, Report]:
    """The erasure's id, and one service's report. DecodeError if it is not a report."""
    message = events_pb2.UserErasureReported.FromString(value)
    report = Report(
        message.service,
        message.round,
        {removal.place: removal.count for removal in message.removals},
        tuple(message.model_versions),
        message.create_time.ToDatetime(UTC).timestamp(),
    )
    return message.erasure, report


def _encode_reports(audit: Audit) -> list[pb.ErasureReport]:
    removed: dict[str, Counter[str]] = defaultdict(Counter)
    learnt: dict[str, set[str]] = defaultdict(set)
    last: dict[str, float] = {}
    for report in audit.reports:
        removed[report.service].update(report.removals)
        learnt[report.service] |= set(report.model_versions)
        last[report.service] = max(last.get(report.service, 0.0), report.created)
    reports = []
    for service, counts in sorted(removed.items()):
        encoded = pb.ErasureReport(
            service=service,
            removals=[events_pb2.Removal(place=p, count=n) for p, n in sorted(counts.items())],
            model_versions=sorted(learnt[service]),
        )
        encoded.create_time.FromDatetime(_moment(last[service]))
        reports.append(encoded)
    return reports


def _moment(stamp: float) -> datetime:
    return datetime.fromtimestamp(stamp, UTC)
