"""Prometheus metrics of every service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath

from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

from shared.language.attempts import defects

RPC_SECONDS = Histogram(
    "trimtab_rpc_duration_seconds",
    "Duration of calls, by method and status.",
    ["service", "method", "code"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
THREAD_DEATHS = Counter(
    "trimtab_thread_deaths_total", "Background threads that ended with an error.", ["service"]
)

LOOP_ERRORS = Counter(
    "trimtab_loop_errors_total", "Errors that a background loop survived.", ["loop"]
)

REDACTIONS = Counter(
    "trimtab_redactions_total",
    "Places taken out of texts before they were stored.",
    ["service", "kind", "action"],
)

Counts = Callable[[], list[tuple[str, str, str, int]]]


class StageCollector(Collector):
    """Durable counts as metrics: Prometheus sees what the database holds, even after a kill."""

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


class DefectCollector(Collector):
    """Items of batches that were refused for an unexpected error; the log has its stack (attempts.py)."""

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "trimtab_item_defects",
            "Items refused for an unexpected error.",
            labels=["error", "file", "line"],
        )
        for (error, file, line), count in sorted(defects.items()):
            family.add_metric([error, PurePath(file).name, str(line)], count)
        return [family]
