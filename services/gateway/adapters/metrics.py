"""The gateway's metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.gateway.app.answer_reports import AnswerReports
from services.gateway.app.customer_telemetry import CustomerTelemetry
from services.gateway.app.recorder import Recorder
from services.gateway.app.rollouts import RolloutCache
from services.gateway.app.shadow import Shadow
from services.gateway.app.user_cache import KnownUsers

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class RequestMeter:
    """Requests by route, status and the version that answered; seconds until the last byte."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["route", "status", "version"]
        self._requests = Counter(
            "trimtab_gateway_requests", "Requests answered.", labels, registry=registry
        )
        self._seconds = Histogram(
            "trimtab_gateway_request_seconds",
            "Seconds from the request to the last byte of the answer.",
            ["route", "version"],
            buckets=_BUCKETS,
            registry=registry,
        )

    def __call__(self, route: str, status: int, version: str, seconds: float) -> None:
        self._requests.labels(route, str(status), version).inc()
        self._seconds.labels(route, version).observe(seconds)


class RecorderCollector(Collector):
    """Depth of the spool, and outcomes of turns."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def collect(self) -> Iterable[Metric]:
        counts = self._recorder.counts
        depth = GaugeMetricFamily("trimtab_gateway_spool_turns", "Turns waiting in the spool.")
        depth.add_metric([], self._recorder.pending)
        turns = CounterMetricFamily(
            "trimtab_gateway_turns", "Turns by outcome.", labels=["outcome", "reason"]
        )
        turns.add_metric(["recorded", ""], counts.recorded)
        turns.add_metric(["spooled", ""], counts.spooled)
        turns.add_metric(["forwarded", ""], counts.forwarded)
        for outcome, reasons in (("refused", counts.refused), ("dropped", counts.dropped)):
            for reason, count in reasons.items():
                turns.add_metric([outcome, reason], count)
        dropping = GaugeMetricFamily(
            "trimtab_gateway_dropping", "1 while turns cannot be logged and are dropped."
        )
        dropping.add_metric([], 1 if self._recorder.dropping else 0)
        waiting = GaugeMetricFamily(
            "trimtab_gateway_waiting_tenants", "Tenants whose turns wait in the spool."
        )
        waiting.add_metric([], len(self._recorder.waits))
        blocked = GaugeMetricFamily(
            "trimtab_gateway_blocked_tenants",
            "Tenants whose turns wait until somebody helps, by reason.",
            labels=["reason"],
        )
        for reason, tenants in self._recorder.blocked.items():
            blocked.add_metric([reason], tenants)
        left_out = CounterMetricFamily(
            "trimtab_gateway_left_out", "Exchanges not to be logged.", labels=["reason"]
        )
        for reason, count in counts.left_out.items():
            left_out.add_metric([reason], count)
        return [depth, turns, dropping, waiting, blocked, left_out]


class WatchCollector(Collector):
    """Whether changes of rollouts and of keys arrive, and how many policies are served."""

    def __init__(self, rollouts: RolloutCache, keys_connected: Callable[[], bool]) -> None:
        self._rollouts, self._keys_connected = rollouts, keys_connected

    def collect(self) -> Iterable[Metric]:
        connected = GaugeMetricFamily(
            "trimtab_gateway_watch_connected",
            "1 while changes arrive, 0 while the last known state is used.",
            labels=["what"],
        )
        connected.add_metric(["rollout"], self._rollouts.connected)
        connected.add_metric(["keys"], self._keys_connected())
        policies = GaugeMetricFamily(
            "trimtab_gateway_policies",
            "Policies of all tenants that have a rollout of their own.",
        )
        policies.add_metric([], len(self._rollouts.policies()))
        refused = GaugeMetricFamily(
            "trimtab_gateway_rollout_refused",
            "Policies for which the registry sent a state older than the one in use, which is refused.",
        )
        refused.add_metric([], len(self._rollouts.refused))
        return [connected, policies, refused]


class KnownUsersCollector(Collector):
    """Chats by whether a persona was put into their prompt, and by whether the user's groups were known where
    they decide which weights answer."""

    def __init__(self, users: KnownUsers) -> None:
        self._users = users

    def collect(self) -> Iterable[Metric]:
        personas = _outcomes(
            "trimtab_gateway_personas",
            "Chats by whether the user's persona was known, and lookups that failed.",
            self._users.personas.counts,
        )
        groups = _outcomes(
            "trimtab_gateway_groups",
            "Chats with a composed version by whether the user's groups were known, and lookups that failed.",
            self._users.groups.counts,
        )
        return [personas, groups]


class ReportsCollector(Collector):
    """What became of reports to the registry of how versions answer, and of chats in a canary's shadow."""

    def __init__(self, reports: AnswerReports, shadow: Shadow) -> None:
        self._reports, self._shadow = reports, shadow

    def collect(self) -> Iterable[Metric]:
        words = "Reports to the registry of how a canary and its champion answer."
        of_shadow = "Chats that a canary answered, too, seen by nobody, by what became of it."
        return [
            _outcomes("trimtab_gateway_answer_reports", words, self._reports.counts),
            _outcomes("trimtab_gateway_shadow", of_shadow, self._shadow.counts),
        ]


def _outcomes(name: str, words: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    found = CounterMetricFamily(name, words, labels=["outcome"])
    for outcome, count in sorted(counts.items()):
        found.add_metric([outcome], count)
    return found


class TelemetryCollector(Collector):
    """OTLP spans and log records by outcome, and calls to models by convention."""

    def __init__(self, telemetry: CustomerTelemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterable[Metric]:
        items = CounterMetricFamily(
            "trimtab_gateway_otlp_items",
            "OTLP spans and log records by outcome.",
            labels=["signal", "outcome"],
        )
        for (signal, outcome), count in sorted(self._telemetry.counts.items()):
            items.add_metric([signal, outcome], count)
        calls = CounterMetricFamily(
            "trimtab_gateway_otlp_calls",
            "Calls to models in spans, by convention, and whether they carried messages.",
            labels=["convention", "outcome"],
        )
        for (convention, outcome), count in sorted(self._telemetry.calls.items()):
            calls.add_metric([convention, outcome], count)
        return [items, calls]
