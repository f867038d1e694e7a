"""OTLP over gRPC: decode, call, encode. The caller's key comes as `authorization` metadata."""

from __future__ import annotations

from functools import partial
from typing import Any

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc

from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.codec import otlp as codec
from services.gateway.ports import Authenticator
from shared.calls.server import Mount


class TracesServicer(traces_grpc.TraceServiceServicer):
    def __init__(self, authenticator: Authenticator, telemetry: CustomerTelemetry) -> None:
        self._authenticator, self._telemetry = authenticator, telemetry

    async def Export(
        self, request: traces.ExportTraceServiceRequest, context: Any
    ) -> traces.ExportTraceServiceResponse:
        caller = self._authenticator.identify(_authorization(context))
        outcome = await self._telemetry.spans(caller.tenant, codec.read_spans(request))
        return codec.encode_spans_outcome(outcome)


class LogsServicer(logs_grpc.LogsServiceServicer):
    def __init__(self, authenticator: Authenticator, telemetry: CustomerTelemetry) -> None:
        self._authenticator, self._telemetry = authenticator, telemetry

    async def Export(
        self, request: logs.ExportLogsServiceRequest, context: Any
    ) -> logs.ExportLogsServiceResponse:
        caller = self._authenticator.identify(_authorization(context))
        outcome = await self._telemetry.logs(caller.tenant, codec.read_logs(request))
        return codec.encode_logs_outcome(outcome)


def mounts(authenticator: Authenticator, telemetry: CustomerTelemetry) -> list[Mount]:
    return [
        (
            "opentelemetry.proto.collector.trace.v1.TraceService",
            partial(
                traces_grpc.add_TraceServiceServicer_to_server,
                TracesServicer(authenticator, telemetry),
            ),
        ),
        (
            "opentelemetry.proto.collector.logs.v1.LogsService",
            partial(
                logs_grpc.add_LogsServiceServicer_to_server, LogsServicer(authenticator, telemetry)
            ),
        ),
    ]


def _authorization(context: Any) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return str(value)
    return ""
