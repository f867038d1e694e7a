"""Spans of requests are named by the route's template, whatever callers put into the path."""

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.telemetry import spans


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "_TRACER", provider.get_tracer("test"))
    return exporter


async def test_requests_are_named_by_their_route(
    gateway: Any, exported: InMemorySpanExporter
) -> None:
    await gateway.http.get("/v1/chat/completions/chatcmpl-of-ada")
    await gateway.http.get("/v1/conversations/of-ada/waiting")
    await gateway.http.get("/somewhere/of-ada")
    await gateway.http.request("STEAL", "/v1/status")
    await gateway.openai.chat.completions.create(
        model="assistant", messages=[{"role": "user", "content": "Hello"}], user="ada"
    )
    found = [(one.name, dict(one.attributes or {})) for one in exported.get_finished_spans()]
    routes = [
        "GET /v1/chat/completions/{completion_id}",
        "GET /v1/conversations/{conversation_id}/waiting",
        "GET unknown",
        "HTTP /v1/status",
        "POST /v1/chat/completions",
    ]
    assert found == [(name, {"http.route": name.split(" ", 1)[1]}) for name in routes]
