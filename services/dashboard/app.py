"""One look at the whole loop: every service asked at once, none able to spoil the page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from services.dashboard import codec as shaping
from services.dashboard.domain import Loop, Part
from shared.language.errors import DeadlineExceeded, NotFound, TrimtabError, Unavailable

Json = dict[str, Any]

# The loop in its order, and what each part does.
PLACES = {
    "gateway": "answers users, logs each exchange",
    "interaction": "keeps conversations",
    "feedback": "mines follow-ups into labels, personas and pairs",
    "reward": "scores answers, filters pairs",
    "drift": "watches streams, raises alarms",
    "retrain": "snapshot, train, gate",
    "evaluation": "measures a new version",
    "registry": "canary, promotion, rollback",
}
HTTP = ("gateway",)


class Peers(Protocol):
    """The other services. The adapter is `GrpcPeers`; every call ends within its deadline."""

    async def call(self, part: str, method: str, request: Json) -> Json:
        """Raises TrimtabError; Unavailable when the part is away."""

    async def answers(self, part: str) -> None:
        """Raises Unavailable unless the HTTP part is healthy."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to look at."""

    tenant: str
    window_s: int = 3 * 3600
    runs: int = 8
    alarms: int = 20
    personas: int = 6


@dataclass
class Answers:
    """Collects answers by section, and why one could not be had."""

    peers: Peers
    troubles: dict[str, str] = field(default_factory=dict)

    async def of(self, section: str, part: str, method: str, **request: Any) -> Json:
        try:
            return await self.peers.call(part, method, request)
        except NotFound:
            return {}  # nothing is there yet, which is no trouble
        except TrimtabError as error:
            self.troubles[section] = error.message
            return {}


async def look(peers: Peers, asked: Asked, now: datetime, before: Loop | None = None) -> Loop:
    """Never raises for a service that is away or slow: its section says so, and shows what was
    known `before`."""
    answers = Answers(peers)
    start = (now - timedelta(seconds=asked.window_s)).isoformat().replace("+00:00", "Z")
    places = asyncio.gather(*(_part(peers, name, before) for name in PLACES))
    rollout, runs, alarms, streams, buckets, personas = await asyncio.gather(
        answers.of("serving", "registry", "GetRollout"),
        answers.of("runs", "retrain", "ListRuns", page_size=asked.runs),
        answers.of("alarms", "drift", "ListAlarms", page_size=asked.alarms),
        answers.of("streams", "drift", "ListStreams"),
        answers.of("course", "drift", "ListBuckets", stream="dissatisfaction", start_time=start),
        answers.of("personas", "feedback", "ListPersonas", page_size=asked.personas),
    )
    seen = Loop(
        time=now.isoformat(timespec="seconds"),
        tenant=asked.tenant,
        parts=tuple(await places),
        rollout=shaping.rollout(rollout),
        runs=tuple(shaping.run(one) for one in runs.get("runs", ())),
        alarms=tuple(shaping.alarm(one) for one in alarms.get("alarms", ())),
        streams=tuple(shaping.stream(one) for one in streams.get("streams", ())),
        courses=shaping.courses(buckets.get("buckets", ())),
        bucket_s=int(buckets.get("bucket_s", 0)),
        personas=tuple(shaping.persona(one) for one in personas.get("personas", ())),
        persona_count=int(personas.get("total_size", 0)),
        troubles=answers.troubles,
    )
    return _kept(seen, before)


# Which fields of a Loop each section fills.
_FIELDS = {
    "serving": ("rollout",),
    "runs": ("runs",),
    "alarms": ("alarms",),
    "streams": ("streams",),
    "course": ("courses", "bucket_s"),
    "personas": ("personas", "persona_count"),
}


def _kept(seen: Loop, before: Loop | None) -> Loop:
    if before is None:
        return seen
    fields = [name for section in seen.troubles for name in _FIELDS[section]]
    return replace(seen, **{name: getattr(before, name) for name in fields})


async def _part(peers: Peers, name: str, before: Loop | None) -> Part:
    try:
        if name in HTTP:
            await peers.answers(name)
            return Part(name, PLACES[name])
        answer = await peers.call(name, "GetStageCounts", {})
    except TrimtabError as error:
        known = [part for part in before.parts if part.name == name] if before else []
        state = "slow" if isinstance(error, DeadlineExceeded) else "down"
        return replace(
            known[0] if known else Part(name, PLACES[name]),
            state=state,
            trouble=error.message,
            advice=advice(name, error),
        )
    return Part(
        name,
        PLACES[name],
        stages=shaping.stages(answer["counts"]),
        lag={topic: int(records) for topic, records in sorted(answer["lag"].items())},
        outbox_pending=int(answer["outbox_pending"]),
    )


def advice(part: str, error: TrimtabError) -> str:
    """What whoever is on call does next."""
    if isinstance(error, DeadlineExceeded):
        return "The machine may be busy; the figures are the last ones known."
    if isinstance(error, Unavailable):
        return f"'make status' and 'make logs' say why; 'make up' starts {part} again."
    return f"{part} answers, but with an error: see 'make logs'."


@dataclass
class Window:
    """The last look, shared by all who ask within `fresh_s`, so that ten open pages cost one."""

    peers: Peers
    asked: Asked
    fresh_s: float = 1.0
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _seen: Loop | None = None
    _seen_at: float = 0.0

    async def look(self) -> Loop:
        async with self._lock:
            if self._seen is None or time.monotonic() - self._seen_at > self.fresh_s:
                self._seen = await look(self.peers, self.asked, self.clock(), self._seen)
                self._seen_at = time.monotonic()
            return self._seen
