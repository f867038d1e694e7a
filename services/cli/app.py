"""What the commands do, over ports: ask, collect, import. No protocol and no terminal here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from services.cli.domain import Imported, Item, Json, Refused
from shared.errors import NotFound, TrimtabError, Unavailable

SERVICES = ("interaction", "feedback", "reward", "evaluation", "drift", "retrain", "registry")
PROBED = ("gateway", "dashboard", "kafka", "mlflow", "vllm")
# How often a batch is sent again when the gateway says that it is not ready.
ATTEMPTS = 8


class Platform(Protocol):
    """The services over gRPC. The adapter is `GrpcPlatform`."""

    def call(self, part: str, method: str, request: Json, timeout_s: float = 10.0) -> Json:
        """Raises the TrimtabError that the service raised; Unavailable when it is away."""


class Gateway(Protocol):
    """The HTTP edge. The adapter is `HttpGateway`."""

    def post(self, path: str, body: Json) -> Json:
        """Raises TrimtabError; Unavailable carries how long to wait (Retry-After)."""


class Probe(Protocol):
    def trouble(self, part: str) -> str:
        """Empty when one of PROBED answers, else why not."""


@dataclass(frozen=True, slots=True)
class Health:
    name: str
    up: bool
    detail: str = ""


def health(platform: Platform, probe: Probe) -> list[Health]:
    """Every service and every part beneath them, asked at once."""

    def service(name: str) -> Health:
        try:
            answer = platform.call(name, "Check", {}, 3.0)
        except TrimtabError as error:
            return Health(name, False, error.message)
        return Health(name, answer["status"] == "SERVING", answer["status"].lower())

    def part(name: str) -> Health:
        found = probe.trouble(name)
        return Health(name, not found, found)

    with ThreadPoolExecutor(len(SERVICES) + len(PROBED)) as pool:
        return [*pool.map(service, SERVICES), *pool.map(part, PROBED)]


def stage_counts(platform: Platform, up: Sequence[str]) -> tuple[list[Json], list[Json]]:
    """(counts of every stage, lag by service and topic) of the services that are up."""
    with ThreadPoolExecutor(max(len(up), 1)) as pool:
        answers = list(pool.map(lambda name: _counts_of(platform, name), up))
    counts, lags = [], []
    for name, answer in zip(up, answers, strict=True):
        counts += [{"service": name, **count} for count in answer.get("counts", ())]
        lag = answer.get("lag", {})
        lags += [{"service": name, "topic": topic, "lag": lag[topic]} for topic in sorted(lag)]
    return counts, lags


def _counts_of(platform: Platform, name: str) -> Json:
    try:
        return platform.call(name, "GetStageCounts", {})
    except Unavailable:
        return {}  # it went away in between; its health line says so on the next look


def rollout(platform: Platform) -> Json | None:
    """None when the registry is away or has no champion."""
    try:
        return platform.call("registry", "GetRollout", {}).get("rollout")
    except (Unavailable, NotFound):
        return None


def listed(
    platform: Platform, part: str, method: str, field: str, request: Json, limit: int
) -> list[Json]:
    """Up to `limit` items, page by page."""
    items: list[Json] = []
    token = ""
    while len(items) < limit:
        page = {**request, "page_size": min(limit - len(items), 500), "page_token": token}
        answer = platform.call(part, method, page)
        items += answer[field]
        token = answer.get("next_page_token", "")
        if not token:
            break
    return items[:limit]


@dataclass
class Importer:
    """Sends conversations in batches, as a product team would; sends a batch again on 503."""

    gateway: Gateway
    wait: Callable[[float], None]
    batch: int = 50

    def run(self, items: Iterator[Item | Refused], told: Callable[[Imported], None]) -> Imported:
        """`told` hears of the sum after each batch. Raises the error that waiting does not mend."""
        done, batch = Imported(), list[Item]()
        for item in items:
            done.read += 1
            if isinstance(item, Refused):
                done.refused.append(item)
                continue
            batch.append(item)
            if len(batch) >= self.batch:
                self._send(batch, done)
                told(done)
                batch = []
        if batch:
            self._send(batch, done)
        told(done)
        return done

    def _send(self, batch: Sequence[Item], done: Imported) -> None:
        answer = self._post({"conversations": [item.body for item in batch]})
        done.accepted += int(answer["accepted"])
        done.turns += int(answer["turns"])
        done.refused += [
            Refused(batch[int(one["position"])].place, one["reason"], one["detail"])
            for one in answer["refused"]
        ]

    def _post(self, body: Json) -> Json:
        for _ in range(ATTEMPTS - 1):
            try:
                return self.gateway.post("/v1/conversations", body)
            except Unavailable as error:
                self.wait(error.retry_after_s or 1.0)
        return self.gateway.post("/v1/conversations", body)


def estimate_words(found: Json | None) -> str:
    """0.88 [0.81, 0.93] of 120 from 40 users; "-" when nothing is known."""
    if not found or not int(found.get("count", 0)):
        return "-"
    figure = f"{found['value']:.3g} [{found['low']:.3g}, {found['high']:.3g}]"
    return f"{figure} of {found['count']} from {found['users']} users"


def text_of(message: Json | None) -> str:
    """The text parts of a message."""
    parts: list[Any] = (message or {}).get("parts", [])
    return "\n".join(part["text"]["text"] for part in parts if part.get("text"))
