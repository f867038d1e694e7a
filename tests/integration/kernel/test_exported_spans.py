"""Traces leave the process as their endpoint says: over TLS or in clear text."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult

from shared.telemetry.setup import exporter_to
from tests.unit.shared.certificates import Authority


class Collector(TraceServiceServicer):
    def __init__(self) -> None:
        self.names: queue.Queue[str] = queue.Queue()

    def Export(self, request: Any, context: Any) -> pb.ExportTraceServiceResponse:
        for spans in (scope.spans for one in request.resource_spans for scope in one.scope_spans):
            for span in spans:
                self.names.put(span.name)
        return pb.ExportTraceServiceResponse()


@contextmanager
def collecting(credentials: grpc.ServerCredentials | None) -> Iterator[tuple[Collector, int]]:
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(collector, server)
    if credentials is None:
        port = server.add_insecure_port("localhost:0")
    else:
        port = server.add_secure_port("localhost:0", credentials)
    server.start()
    try:
        yield collector, port
    finally:
        server.stop(0).wait(10)


def export(endpoint: str) -> None:
    """One span; returns when it was exported, or could not be."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter_to(endpoint)))
    provider.get_tracer("test").start_span("GET /v1/status").end()
    provider.shutdown()


@pytest.mark.parametrize("prefix", ["http://", ""])
def test_in_clear_text_where_the_endpoint_is(prefix: str) -> None:
    with collecting(None) as (collector, port):
        export(f"{prefix}localhost:{port}")
        assert collector.names.get(timeout=10) == "GET /v1/status"


def test_over_tls_where_the_endpoint_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority("ours")
    cert, key = authority.issue("localhost")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "ca.pem"))
    with collecting(grpc.ssl_server_credentials([(key, cert)])) as (collector, port):
        export(f"https://localhost:{port}")
        assert collector.names.get(timeout=10) == "GET /v1/status"


def test_nobody_who_cannot_prove_who_they_are_gets_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_bytes(Authority("ours").pem)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    cert, key = Authority("another").issue("localhost")
    with collecting(grpc.ssl_server_credentials([(key, cert)])) as (collector, port):
        found = exporter_to(f"https://localhost:{port}").export([])
        assert (found, collector.names.qsize()) == (SpanExportResult.FAILURE, 0)
