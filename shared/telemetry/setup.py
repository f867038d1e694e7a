"""Sets up a process's logs and traces."""

from __future__ import annotations

import logging
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased

from shared.telemetry.logs import JsonFormatter


def start_telemetry(service: str, *, level: str = "INFO", otlp_endpoint: str = "") -> None:
    """Sets up logging and tracing of this process; called once, by main. Without an endpoint no spans are
    exported, but trace ids are still propagated."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("kafka", "httpx", "urllib3", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    resource = Resource.create({"service.name": f"trimtab-{service}"})
    sampler = ParentBased(TraceIdRatioBased(1.0)) if otlp_endpoint else ALWAYS_OFF
    provider = TracerProvider(resource=resource, sampler=sampler)
    if otlp_endpoint:
        provider.add_span_processor(BatchSpanProcessor(exporter_to(otlp_endpoint)))
    trace.set_tracer_provider(provider)


def exporter_to(endpoint: str) -> OTLPSpanExporter:
    """Over TLS to `https://...`, otherwise in clear text. Whom it trusts, and what it shows to be let in, are
    OpenTelemetry's own settings: OTEL_EXPORTER_OTLP_CERTIFICATE, OTEL_EXPORTER_OTLP_HEADERS."""
    return OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://"))
