"""OpenTelemetry's own exporters, over HTTP and gRPC: nothing that an application sends makes them complain."""

from __future__ import annotations

import sys

import pytest

from tests.integration.edge.clients.running import PATIENCE_S, Door, talk


def main() -> None:
    if sys.argv[1] == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    else:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # type: ignore[assignment]
            OTLPMetricExporter,
        )
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # type: ignore[assignment]
            OTLPSpanExporter,
        )
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
    meters.get_meter("app").create_counter("requests").add(1)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("app")
    with tracer.start_as_current_span("GET /", attributes={"http.request.method": "GET"}):
        held = {
            "gen_ai.operation.name": "chat",
            "gen_ai.conversation.id": f"opentelemetry-{sys.argv[1]}",
            "gen_ai.request.model": "Llama 3 8B (local)",
            "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]',
            "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"Ho"}]}]',
        }
        with tracer.start_as_current_span("chat", attributes=held):
            pass
    provider.shutdown()
    meters.shutdown()


@pytest.mark.timeout(PATIENCE_S + 60)
@pytest.mark.parametrize("over", ["http", "grpc"])
async def test_every_signal_is_taken_without_a_word_in_the_applications_log(
    door: Door, over: str
) -> None:
    lines = door.otlp()
    if over == "grpc":
        lines |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": door.otlp_grpc,
            "OTEL_EXPORTER_OTLP_INSECURE": "true",
        }
    assert await door.run(__file__, over, **lines) == ""
    turns = await door.said(f"opentelemetry-{over}", 2)
    assert talk(turns) == [("user", "Hi"), ("assistant", "Ho")]
    assert [turn.model_version for turn in turns] == ["", "Llama-3-8B--local-"]


if __name__ == "__main__":
    main()
