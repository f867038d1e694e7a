"""OTLP's messages (protobuf, and its JSON) -> spans and events of the domain."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToJson, ParseDict, ParseError
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from services.gateway.app.customer_telemetry import Outcome
from services.gateway.codec.wire import inside
from services.gateway.domain.telemetry import Event, Span, Unread
from shared.language.attempts import attempted, too_deep
from shared.language.errors import InvalidArgument, TrimtabError
from shared.language.json_text import TOO_DEEP, decode_batch

M = TypeVar("M", bound=Message)
K = TypeVar("K")
T = TypeVar("T")
# From the list of resources to the list of items.
_Names = tuple[str, str, str]
_SNAKE = {
    "resourceSpans": "resource_spans",
    "scopeSpans": "scope_spans",
    "spans": "spans",
    "resourceLogs": "resource_logs",
    "scopeLogs": "scope_logs",
    "logRecords": "log_records",
}
# Fields of the requests, which traces and logs number alike, and of a span and a log record.
_RESOURCES, _RESOURCE, _SCOPES, _ITEMS = 1, 1, 2, 2
_SPAN_ID_OF_SPAN, _SPAN_ID_OF_RECORD = 2, 10
# The bracket that opens an item: three lists, each in an object.
_ITEM_LEVEL = 7

_EVENT_NAME = "event.name"
# OTLP's JSON has these in hex; protobuf's own mapping would have base64.
_HEX = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")


def encode_json(message: Message) -> bytes:
    return MessageToJson(message, indent=None).encode()


def read_spans(body: bytes) -> list[Span | Unread]:
    """Of an ExportTraceServiceRequest, in the order in which they were sent. InvalidArgument if the body as a
    whole cannot be read; if it is only a span, that is Unread."""
    try:
        request = traces.ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        return _one_by_one(body, trace_pb2.Span, _span, _SPAN_ID_OF_SPAN, error)
    return [
        _read(partial(_span, resource=resource), span, span.span_id.hex())
        for held in request.resource_spans
        for resource in (_attributes(held.resource.attributes),)
        for scope in held.scope_spans
        for span in scope.spans
    ]


def read_logs(body: bytes) -> list[Event | Unread]:
    try:
        request = logs.ExportLogsServiceRequest.FromString(body)
    except DecodeError as error:
        return _one_by_one(body, logs_pb2.LogRecord, _record, _SPAN_ID_OF_RECORD, error)
    return [
        _read(partial(_record, resource=resource), record, record.span_id.hex())
        for held in request.resource_logs
        for resource in (_attributes(held.resource.attributes),)
        for scope in held.scope_logs
        for record in scope.log_records
    ]


def read_spans_json(body: bytes) -> list[Span | Unread]:
    """As `read_spans`. InvalidArgument if the body as a whole is not JSON of that form."""

    def read(placed: ResourceItem) -> Span:
        span = _message(trace_pb2.Span, placed.item, "span")
        return _span(span, placed.resource_attributes())

    return _read_json(body, ("resourceSpans", "scopeSpans", "spans"), read)


def read_logs_json(body: bytes) -> list[Event | Unread]:
    def read(placed: ResourceItem) -> Event:
        record = _message(logs_pb2.LogRecord, placed.item, "log record")
        return _record(record, placed.resource_attributes())

    return _read_json(body, ("resourceLogs", "scopeLogs", "logRecords"), read)


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


def no_metrics() -> metrics.ExportMetricsServiceResponse:
    """The answer to any metrics: they are not read."""
    return metrics.ExportMetricsServiceResponse()


@dataclass(frozen=True, slots=True)
class ResourceItem:
    """An item of an export in JSON, with the resource above it. `item` is an error if what should hold items
    does not."""

    resource: object
    item: object

    def resource_attributes(self) -> dict[str, Any]:
        said = {} if self.resource is None else self.resource
        resource = _message(resource_pb2.Resource, said, "resource")
        return _attributes(resource.attributes)


def _read(read: Callable[[K], T], item: K, span_id: str) -> T | Unread:
    found = attempted(read, item)
    return Unread(span_id, found) if isinstance(found, TrimtabError) else found


def _one_by_one(
    body: bytes,
    kind: type[M],
    read: Callable[[M, Mapping[str, Any]], T],
    span_id_field: int,
    cause: DecodeError,
) -> list[T | Unread]:
    """What protobuf refuses as a whole for one text that is not UTF-8, or one value nested too deeply. The body
    is refused if no item is to blame."""
    found: list[T | Unread] = []
    for held in inside(body, _RESOURCES):
        resources = list(inside(held, _RESOURCE))
        for scope in inside(held, _SCOPES):
            for item in inside(scope, _ITEMS):
                work = partial(_decoded, kind=kind, resources=resources, read=read)
                found.append(_read(work, item, _span_id_in(item, span_id_field)))
    if not any(isinstance(one, Unread) for one in found):
        raise _undecodable(f"the body cannot be decoded: {cause}", "body") from cause
    return found


def _decoded(
    item: bytes,
    kind: type[M],
    resources: Sequence[bytes],
    read: Callable[[M, Mapping[str, Any]], T],
) -> T:
    try:
        resource = resource_pb2.Resource.FromString(b"".join(resources))
        message = kind.FromString(item)
    except DecodeError as error:
        raise _undecodable(f"it is not a {kind.DESCRIPTOR.full_name}: {error}", "item") from error
    return read(message, _attributes(resource.attributes))


def _span_id_in(item: bytes, field: int) -> str:
    found = attempted(lambda item: next(inside(item, field), b""), item)
    return found[:8].hex() if isinstance(found, bytes) else ""


def _read_json(body: bytes, names: _Names, read: Callable[[ResourceItem], T]) -> list[T | Unread]:
    try:
        document = decode_batch(body, _ITEM_LEVEL)
    except (ValueError, RecursionError) as error:
        raise _undecodable(f"the body is not JSON: {error}", "body") from error
    if not isinstance(document, dict):
        raise _undecodable("the body is not a JSON object", "body")
    return [_read(read, placed, _span_id(placed.item)) for placed in _placed(document, names)]


def _placed(document: Mapping[str, Any], names: _Names) -> Iterator[ResourceItem]:
    """InvalidArgument if the outermost list is none. What is wrong further inside counts as one item."""
    outer, middle, inner = names
    for held in _list(document, outer):
        resource = held.get("resource") if isinstance(held, dict) else None
        for scope in _list_or_error(held, middle):
            for item in _list_or_error(scope, inner):
                yield ResourceItem(resource, item)


def _list_or_error(holder: object, name: str) -> list[Any]:
    found = attempted(partial(_list, name=name), holder)
    return [found] if isinstance(found, TrimtabError) else found


def _list(holder: Any, name: str) -> list[Any]:
    """Absent and null are empty, as in protobuf's JSON, which takes both spellings of a name."""
    if isinstance(holder, TrimtabError):
        raise holder
    if holder == TOO_DEEP:
        raise too_deep()
    if not isinstance(holder, dict):
        raise _undecodable(f"the parent of {name} is not an object", name)
    found = holder.get(name, holder.get(_SNAKE[name]))
    if found is not None and not isinstance(found, list):
        raise _undecodable(f"{name} is not a list", name)
    return found or []


def _message(kind: type[M], document: object, name: str) -> M:
    if isinstance(document, TrimtabError):
        raise document
    if document == TOO_DEEP:
        raise too_deep()
    if not isinstance(document, dict):
        raise _undecodable(f"the {name} is not an object", name)
    try:
        return ParseDict(_with_base64(document), kind(), ignore_unknown_fields=True)
    except (ParseError, ValueError) as error:
        words = f"it is not a {kind.DESCRIPTOR.full_name} in JSON: {error}"
        raise _undecodable(words, name) from error


def _undecodable(message: str, field: str) -> InvalidArgument:
    return InvalidArgument(message[:300], reason="UNDECODABLE", field=field)


def _span_id(item: object) -> str:
    found = item.get("spanId", item.get("span_id")) if isinstance(item, dict) else ""
    return found[:32] if isinstance(found, str) else ""


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
