"""Logs as JSON, Prometheus metrics, OpenTelemetry traces that cross Kafka and gRPC."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

from shared.log.events import Event

_TRACER = trace.get_tracer("trimtab")

RPC_SECONDS = Histogram(
    "trimtab_rpc_duration_seconds",
    "Time a call took, by method and status.",
    ["service", "method", "code"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
THREAD_DEATHS = Counter(
    "trimtab_thread_deaths_total", "Background threads that ended.", ["service"]
)

REDACTIONS = Counter(
    "trimtab_redactions_total",
    "Places taken out of texts before they were stored.",
    ["service", "kind", "action"],
)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the trace id. Never the content of conversations."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        context = trace.get_current_span().get_span_context()
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if context.is_valid:
            line["trace_id"] = trace.format_trace_id(context.trace_id)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def start(service: str, *, level: str = "INFO", otlp_endpoint: str = "") -> None:
    """Sets up logging and tracing of this process; called once, by main. Without an endpoint no span is
    exported, but trace ids still travel."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("kafka", "httpx", "urllib3", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    resource = Resource.create({"service.name": f"trimtab-{service}"})
    sampler = ParentBased(TraceIdRatioBased(1.0)) if otlp_endpoint else ALWAYS_OFF
    provider = TracerProvider(resource=resource, sampler=sampler)
    if otlp_endpoint:
        exporter = OTLPSpanExporter(endpoint=otlp_endpoint, insecure=True)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def trace_headers() -> dict[str, str]:
    """The current trace as headers (traceparent), for events and calls."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


@contextmanager
def record_span(stage: str, event: Event) -> Iterator[None]:
    """A span for taking one record, as a child of the span that published it."""
    context = propagate.extract(dict(event.headers))
    with _TRACER.start_as_current_span(f"{stage} {event.topic}", context=context):
        yield


@contextmanager
def batch_span(stage: str, events: Sequence[Event]) -> Iterator[None]:
    """A span for taking many records at once, linked to the sampled spans that published them."""
    links = []
    for header in {event.headers.get("traceparent", "") for event in events}:
        if header.endswith("-01"):  # sampled
            context = propagate.extract({"traceparent": header})
            links.append(trace.Link(trace.get_current_span(context).get_span_context()))
    topic = events[0].topic if events else ""
    with _TRACER.start_as_current_span(f"{stage} {topic}", links=links):
        yield


@contextmanager
def call_span(method: str, metadata: Mapping[str, str]) -> Iterator[None]:
    """A span for serving one call, as a child of the caller's."""
    context = propagate.extract(dict(metadata))
    with _TRACER.start_as_current_span(method, context=context, kind=trace.SpanKind.SERVER):
        yield


Counts = Callable[[], list[tuple[str, str, str, int]]]


class StageCollector(Collector):
    """Durable counts as metrics: what Prometheus sees is what the database holds, also after a kill."""

    def __init__(self, service: str, counts: Counts, lag: Callable[[], Mapping[str, int]]) -> None:
        self._service, self._counts, self._lag = service, counts, lag

    def collect(self) -> Iterable[Metric]:
        labels = ["service", "stage", "outcome", "reason"]
        events = CounterMetricFamily(
            "trimtab_stage_events", "Taken, made, abstained, dropped.", labels=labels
        )
        waiting = GaugeMetricFamily("trimtab_stage_waiting", "Waiting, by reason.", labels=labels)
        for stage, outcome, reason, count in self._counts():
            family = waiting if outcome == "waiting" else events
            family.add_metric([self._service, stage, outcome, reason], count)
        lag = GaugeMetricFamily(
            "trimtab_lag_records", "Records not yet taken.", labels=["service", "topic"]
        )
        for topic, records in self._lag().items():
            lag.add_metric([self._service, topic], records)
        return [events, waiting, lag]

    def register(self, registry: CollectorRegistry = REGISTRY) -> None:
        registry.register(self)
