"""OTLP's messages (protobuf, and its JSON) -> spans and events of the domain."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToJson, ParseDict, ParseError
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from services.gateway.app.customer_telemetry import Outcome
from services.gateway.domain.spans import Event, Span
from shared.language.errors import InvalidArgument

M = TypeVar("M", bound=Message)

_EVENT_NAME = "event.name"
# OTLP's JSON has these in hex; protobuf's own mapping would have base64.
_HEX = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")


def parse(kind: type[M], body: bytes) -> M:
    """InvalidArgument if the body is not that message: cut off, not UTF-8, or something else."""
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise InvalidArgument(
            f"the body is not a {kind.DESCRIPTOR.full_name}: {error}",
            reason="UNDECODABLE",
            field="body",
        ) from error


def parse_json(kind: type[M], body: bytes) -> M:
    try:
        return ParseDict(_with_base64(json.loads(body)), kind(), ignore_unknown_fields=True)
    except (ParseError, ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"the body is not a {kind.DESCRIPTOR.full_name} in JSON: {error}",
            reason="UNDECODABLE",
            field="body",
        ) from error


def encode_json(message: Message) -> bytes:
    return MessageToJson(message, indent=None).encode()


def read_spans(request: traces.ExportTraceServiceRequest) -> list[Span]:
    """In the order in which they were sent."""
    return [
        _span(span, resource)
        for held in request.resource_spans
        for resource in (_attributes(held.resource.attributes),)
        for scope in held.scope_spans
        for span in scope.spans
    ]


def read_logs(request: logs.ExportLogsServiceRequest) -> list[Event]:
    return [
        _record(record, resource)
        for held in request.resource_logs
        for resource in (_attributes(held.resource.attributes),)
        for scope in held.scope_logs
        for record in scope.log_records
    ]


def encode_spans_outcome(outcome: Outcome) -> traces.ExportTraceServiceResponse:
    response = traces.ExportTraceServiceResponse()
    if said := outcome.message():  # must be unset if nothing was refused
        response.partial_success.rejected_spans = len(outcome.refused)
        response.partial_success.error_message = said
    return response


def encode_logs_outcome(outcome: Outcome) -> logs.ExportLogsServiceResponse:
    response = logs.ExportLogsServiceResponse()
    if said := outcome.message():
        response.partial_success.rejected_log_records = len(outcome.refused)
        response.partial_success.error_message = said
    return response


def _span(span: Any, resource: Mapping[str, Any]) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        resource=resource,
        events=tuple(
            Event(event.name, event.time_unix_nano, _attributes(event.attributes))
            for event in span.events
        ),
    )


def _record(record: Any, resource: Mapping[str, Any]) -> Event:
    """The event's name is a field of its own; in older versions it was an attribute."""
    attributes = _attributes(record.attributes)
    return Event(
        name=record.event_name or str(attributes.get(_EVENT_NAME) or ""),
        time_ns=record.time_unix_nano or record.observed_time_unix_nano,
        attributes=attributes,
        body=_value(record.body) if record.HasField("body") else None,
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        resource=resource,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return dict(_pairs(pairs))


def _pairs(pairs: Any) -> Iterator[tuple[str, Any]]:
    pair: KeyValue
    for pair in pairs:
        yield pair.key, _value(pair.value)


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "array_value":
            return [_value(one) for one in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
    return None


def _with_base64(document: Any) -> Any:
    if isinstance(document, list):
        return [_with_base64(one) for one in document]
    if not isinstance(document, dict):
        return document
    return {
        name: _id(value, name) if name in _HEX else _with_base64(value)
        for name, value in document.items()
    }


def _id(value: Any, name: str) -> str:
    try:
        return base64.b64encode(bytes.fromhex(value)).decode()
    except (TypeError, ValueError, binascii.Error) as error:
        raise InvalidArgument(f"{name} must be in hex", reason="UNDECODABLE", field=name) from error
