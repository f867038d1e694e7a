"""OTLP over HTTP: protobuf and JSON, plain and gzip, partial success, what is refused as a whole."""

import gzip
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from google.rpc import status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.common.v1 import common_pb2 as otlp

from services.gateway.adapters.authenticator import KeyAuthenticator
from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.domain.telemetry import Span
from services.gateway.http_api import otlp as door
from services.gateway.http_api import problems
from services.gateway.http_api.admission import Admission
from shared.access.key_book import KeyBook
from shared.access.quotas import Quotas
from shared.language.keys import fixed_keys
from shared.language.times import now
from tests.unit.gateway.genai import END, KEY, SPAN, START, TRACE, MemorySink, chat, words


@pytest.fixture
async def http(telemetry: CustomerTelemetry) -> AsyncIterator[httpx.AsyncClient]:
    application = FastAPI()
    door.add_routes(application, _admission(), telemetry)
    problems.install(application)
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        client.headers["authorization"] = f"Bearer {KEY}"
        yield client


def _admission() -> Admission:
    return Admission(
        KeyAuthenticator(KeyBook(now, fixed_keys({KEY: "acme"})), Quotas(dict)), 100_000
    )


def export(*spans: Span) -> traces.ExportTraceServiceRequest:
    request = traces.ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for one in spans:
        made = scope.spans.add(
            trace_id=bytes.fromhex(one.trace_id),
            span_id=bytes.fromhex(one.span_id),
            start_time_unix_nano=one.start_ns,
            end_time_unix_nano=one.end_ns,
        )
        for key, value in one.attributes.items():
            made.attributes.append(
                otlp.KeyValue(key=key, value=otlp.AnyValue(string_value=str(value)))
            )
    return request


def add_record(records: Any, name: str, **body: str) -> None:
    said = records.add(trace_id=bytes.fromhex(TRACE), span_id=bytes.fromhex(SPAN))
    said.event_name, said.observed_time_unix_nano = name, START
    for key, text in body.items():
        held = otlp.KeyValue(key=key, value=otlp.AnyValue(string_value=text))
        said.body.kvlist_value.values.append(held)


PROTOBUF = {"content-type": "application/x-protobuf"}


async def test_protobuf_over_http_plain_and_gzip(http: httpx.AsyncClient, sink: MemorySink) -> None:
    body = export(chat()).SerializeToString()
    plain = await http.post("/v1/traces", content=body, headers=PROTOBUF)
    assert (plain.status_code, plain.headers["content-type"]) == (200, "application/x-protobuf")
    answer = traces.ExportTraceServiceResponse.FromString(plain.content)
    assert not answer.HasField("partial_success")
    squeezed = {**PROTOBUF, "content-encoding": "gzip"}
    assert (
        await http.post("/v1/traces", content=gzip.compress(body), headers=squeezed)
    ).status_code == 200
    assert words(sink) == [(0, "user", "Hello"), (1, "assistant", "Hi")]


async def test_json_has_its_ids_in_hex(http: httpx.AsyncClient, sink: MemorySink) -> None:
    attributes = [
        {"key": key, "value": {"stringValue": value}} for key, value in chat().attributes.items()
    ]
    one = {
        "traceId": TRACE.upper(),
        "spanId": SPAN,
        "startTimeUnixNano": str(START),
        "endTimeUnixNano": END,
        "attributes": attributes,
        "somethingNew": 1,
    }
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [one, {**one, "attributes": []}]}]}]}
    answer = await http.post("/v1/traces", json=document)
    assert (answer.status_code, answer.json()) == (200, {})
    assert sink.turns[0].conversation_id == TRACE
    assert sink.turns[0].create_time == datetime.fromtimestamp(START / 1e9, UTC)


async def test_partial_success_says_how_many_and_why(http: httpx.AsyncClient) -> None:
    body = export(chat(), chat(asked=[])).SerializeToString()
    answer = await http.post("/v1/traces", content=body, headers=PROTOBUF)
    assert answer.status_code == 200
    partial = traces.ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 1
    assert "MISSING_ATTRIBUTE at gen_ai.input.messages" in partial.error_message


async def test_a_text_that_is_not_utf8_refuses_only_its_span(
    http: httpx.AsyncClient, sink: MemorySink
) -> None:
    bad = replace(chat(), attributes={**chat().attributes, "user.name": "cut @"})
    request = export(chat(), bad, chat())
    request.resource_spans[0].resource.attributes.append(
        otlp.KeyValue(key="user.id", value=otlp.AnyValue(string_value="ada"))
    )
    body = request.SerializeToString().replace(b"cut @", b"cut \xf0")
    answer = await http.post("/v1/traces", content=body, headers=PROTOBUF)
    assert answer.status_code == 200
    partial = traces.ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 1
    assert partial.error_message.startswith(f"[1] {SPAN}: UNDECODABLE at item: it is not a ")
    assert words(sink) == [(0, "user", "Hello"), (1, "assistant", "Hi")]
    assert {turn.user_id for turn in sink.turns} == {"ada"}


async def test_a_text_that_is_not_utf8_refuses_only_its_log_record(
    http: httpx.AsyncClient, sink: MemorySink
) -> None:
    request = logs.ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for text in ("one", "cut @", "three"):
        add_record(records, "gen_ai.user.message", content=text)
    add_record(records, "gen_ai.choice", message="four")
    body = request.SerializeToString().replace(b"cut @", b"cut \xf0")
    answer = await http.post("/v1/logs", content=body, headers=PROTOBUF)
    partial = logs.ExportLogsServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_log_records == 1
    assert partial.error_message.startswith(f"[1] {SPAN}: UNDECODABLE at item: ")
    assert words(sink) == [(0, "user", "one"), (1, "user", "three"), (2, "assistant", "four")]


async def test_logs_over_http(http: httpx.AsyncClient, sink: MemorySink) -> None:
    request = logs.ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    add_record(records, "gen_ai.user.message", content="Hello")
    add_record(records, "gen_ai.choice", message="Hi")
    answer = await http.post("/v1/logs", content=request.SerializeToString(), headers=PROTOBUF)
    assert answer.status_code == 200
    assert words(sink) == [(0, "user", "Hello"), (1, "assistant", "Hi")]


async def test_away_is_a_503_that_says_when_to_come_back(
    http: httpx.AsyncClient, sink: MemorySink
) -> None:
    sink.away = True
    body = export(chat()).SerializeToString()
    answer = await http.post("/v1/traces", content=body, headers=PROTOBUF)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    status = status_pb2.Status.FromString(answer.content)
    assert (status.code, status.message) == (14, "interaction is away")


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"\xff\xff\xff", {}, 400),
        # A field that is no UTF-8.
        (b"\x0a\x06\x12\x04\x0a\x02\x0a\xff", {}, 400),
        (gzip.compress(b"x" * 1000)[:-9], {"content-encoding": "gzip"}, 400),
        (b"no gzip", {"content-encoding": "gzip"}, 400),
        (gzip.compress(b"x" * 1_000_000), {"content-encoding": "gzip"}, 413),
        (b"x" * 100_001, {}, 413),
        (b"x", {"content-encoding": "br"}, 415),
        (b"x", {"content-type": "text/plain"}, 415),
        (b'{"resourceSpans": [', {"content-type": "application/json"}, 400),
        (b'{"resourceSpans": 7}', {"content-type": "application/json"}, 400),
        (b"", {"authorization": "Bearer nobody"}, 401),
    ],
    ids=lambda value: value.__class__.__name__ if isinstance(value, bytes | dict) else str(value),
)
async def test_what_can_not_be_read_is_refused_as_a_whole(
    http: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await http.post("/v1/traces", content=content, headers={**PROTOBUF, **headers})
    assert answer.status_code == status
