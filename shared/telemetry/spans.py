"""OpenTelemetry spans that cross Kafka and gRPC."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace

_TRACER = trace.get_tracer("trimtab")


def trace_headers() -> dict[str, str]:
    """The current trace as headers (traceparent), for events and calls."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


@contextmanager
def record_span(stage: str, topic: str, headers: Mapping[str, str]) -> Iterator[None]:
    """A span for taking one record, a child of the span that published it."""
    context = propagate.extract(dict(headers))
    with _TRACER.start_as_current_span(f"{stage} {topic}", context=context):
        yield


@contextmanager
def batch_span(stage: str, topic: str, headers: Iterable[Mapping[str, str]]) -> Iterator[None]:
    """A span for taking many records together, linked to the sampled spans that published them."""
    links = []
    for header in {one.get("traceparent", "") for one in headers}:
        if header.endswith("-01"):  # sampled
            context = propagate.extract({"traceparent": header})
            links.append(trace.Link(trace.get_current_span(context).get_span_context()))
    with _TRACER.start_as_current_span(f"{stage} {topic}", links=links):
        yield


@contextmanager
def call_span(method: str, metadata: Mapping[str, str]) -> Iterator[trace.Span]:
    """A span for serving one call, a child of the caller's."""
    context = propagate.extract(dict(metadata))
    kind = trace.SpanKind.SERVER
    with _TRACER.start_as_current_span(method, context=context, kind=kind) as span:
        yield span
