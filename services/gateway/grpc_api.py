"""OTLP over gRPC: decode, call, encode. The caller's key comes as `authorization` metadata.

Requests come in as bytes: gRPC would refuse a whole export for one span that cannot be read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message

from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.codec import otlp as codec
from services.gateway.ports import Authenticator
from shared.calls.server import Mount

_TRACES = "opentelemetry.proto.collector.trace.v1.TraceService"
_LOGS = "opentelemetry.proto.collector.logs.v1.LogsService"
_METRICS = "opentelemetry.proto.collector.metrics.v1.MetricsService"
_Export = Callable[[bytes, Any], Awaitable[Message]]


def mounts(authenticator: Authenticator, telemetry: CustomerTelemetry) -> list[Mount]:
    async def traces(request: bytes, context: Any) -> Message:
        caller = authenticator.identify(_authorization(context))
        outcome = await telemetry.spans(caller.tenant, codec.read_spans(request))
        return codec.encode_spans_outcome(outcome)

    async def logs(request: bytes, context: Any) -> Message:
        caller = authenticator.identify(_authorization(context))
        outcome = await telemetry.logs(caller.tenant, codec.read_logs(request))
        return codec.encode_logs_outcome(outcome)

    async def metrics(request: bytes, context: Any) -> Message:
        """Thrown away, so that an exporter of all three signals has nothing to complain of."""
        authenticator.identify(_authorization(context))
        telemetry.counts["metrics", "ignored"] += 1
        return codec.no_metrics()

    services = {_TRACES: traces, _LOGS: logs, _METRICS: metrics}
    return [(name, partial(_add, name, export)) for name, export in services.items()]


def _add(service: str, export: _Export, server: grpc.aio.Server) -> None:
    method: grpc.RpcMethodHandler[bytes, Message] = grpc.unary_unary_rpc_method_handler(
        export, response_serializer=lambda message: message.SerializeToString()
    )
    handlers = grpc.method_handlers_generic_handler(service, {"Export": method})
    server.add_generic_rpc_handlers((handlers,))


def _authorization(context: Any) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return str(value)
    return ""
