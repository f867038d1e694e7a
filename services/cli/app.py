"""What the commands do, over ports: ask, collect, import. No protocol and no terminal here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from services.cli.domain import Json
from services.cli.domain.records import Imported, Item, Record, Refused
from shared.language.errors import (
    DeadlineExceeded,
    NotFound,
    ResourceExhausted,
    TrimtabError,
    Unavailable,
)

SERVICES = ("interaction", "feedback", "reward", "evaluation", "drift", "retrain", "registry")
PROBED = ("gateway", "dashboard", "kafka", "mlflow", "vllm")
# How often a batch is sent when it is to be sent again.
ATTEMPTS = 8


class Platform(Protocol):
    """The services over gRPC. The adapter is `GrpcPlatform`."""

    def call(self, part: str, method: str, request: Json, timeout_s: float = 10.0) -> Json:
        """Raises the TrimtabError that the service raised; Unavailable when it is away."""

    def stream(self, part: str, method: str, request: Json) -> Iterator[Json]:
        """The answers as they come; raises as `call` does, also between two."""


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
    items: list[Json] = told_of(platform, part, method, field, request, limit)[field]
    return items


def told_of(
    platform: Platform, part: str, method: str, field: str, request: Json, limit: int
) -> Json:
    """The first page's answer, with up to `limit` items of all pages in `field`, and the last page's token."""
    told: Json = {}
    items: list[Json] = []
    token = ""
    while len(items) < limit:
        page = {**request, "page_size": min(limit - len(items), 500), "page_token": token}
        answer = platform.call(part, method, page)
        told = told or answer
        items += answer[field]
        token = answer.get("next_page_token", "")
        if not token:
            break
    return {**told, field: items[:limit], "next_page_token": token}


@dataclass(frozen=True, slots=True)
class Entry:
    """A record with what it says, or why it says nothing."""

    record: Record
    said: Item | Refused


class Sent(Protocol):
    """A batch on its way."""

    def refusals(self) -> list[tuple[int, str, str, str]]:
        """Waits until the rest is held by Kafka: (place in the batch, field, reason, detail) of what
        was refused. Unavailable, ResourceExhausted or DeadlineExceeded: it is to be sent again."""


class Door(Protocol):
    """Where conversations go in. The adapters are GrpcDoor and HttpDoor."""

    def send(self, items: Sequence[Item]) -> Sent:
        """Does not wait for the answer."""


@dataclass
class Importer:
    """Sends records in batches, several at a time, and counts what was acknowledged, in order."""

    door: Door
    wait: Callable[[float], None]
    batch_messages: int = 500
    batch_bytes: int = 2_000_000
    in_flight: int = 4

    def run(
        self,
        entries: Iterable[Entry],
        done: Imported,
        told: Callable[[Sequence[Entry], Sequence[Refused]], None],
    ) -> None:
        """Adds to `done`. `told` hears of each batch once it is acknowledged, with what was refused
        of it. Raises the error that waiting does not mend."""
        waiting: deque[tuple[list[Entry], Sent | None]] = deque()
        for batch in self._batches(entries):
            if len(waiting) >= self.in_flight:
                self._finish(*waiting.popleft(), done, told)
            items = _items(batch)
            waiting.append((batch, self.door.send(items) if items else None))
        while waiting:
            self._finish(*waiting.popleft(), done, told)

    def _batches(self, entries: Iterable[Entry]) -> Iterator[list[Entry]]:
        batch: list[Entry] = []
        messages = size = 0
        for entry in entries:
            batch.append(entry)
            messages += entry.said.messages if isinstance(entry.said, Item) else 1
            size += len(entry.record.raw)
            if messages >= self.batch_messages or size >= self.batch_bytes:
                yield batch
                batch, messages, size = [], 0, 0
        if batch:
            yield batch

    def _finish(
        self,
        batch: list[Entry],
        sent: Sent | None,
        done: Imported,
        told: Callable[[Sequence[Entry], Sequence[Refused]], None],
    ) -> None:
        found = self._answer(batch, sent) if sent else []
        taken = [entry for entry in batch if isinstance(entry.said, Item)]
        refused = [entry.said for entry in batch if isinstance(entry.said, Refused)]
        said = [Refused(taken[p].record, reason, text, name) for p, name, reason, text in found]
        refused += said
        _add(done, batch, {place for place, *_ in found}, refused)
        told(batch, sorted(refused, key=lambda one: (one.record.file, one.record.line)))

    def _answer(self, batch: list[Entry], sent: Sent) -> list[tuple[int, str, str, str]]:
        for _ in range(ATTEMPTS - 1):
            try:
                return sent.refusals()
            except (Unavailable, ResourceExhausted, DeadlineExceeded) as error:
                self.wait(error.retry_after_s or 1.0)
                sent = self.door.send(_items(batch))
        return sent.refusals()


def _items(batch: Sequence[Entry]) -> list[Item]:
    return [entry.said for entry in batch if isinstance(entry.said, Item)]


def _add(done: Imported, batch: Sequence[Entry], bad: set[int], refused: list[Refused]) -> None:
    done.read += len(batch)
    items = _items(batch)
    for item in items:
        done.conversations += len(item.conversations)
        done.turns += sum(len(one.lines) for one in item.conversations)
        done.feedback += len(item.opinions)
        done.preferences += len(item.preferences)
    done.records += len(items) - len(bad)
    done.refused += len({(one.record.file, one.record.line) for one in refused})
    for one in refused:
        done.reasons[one.reason] = done.reasons.get(one.reason, 0) + 1


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
