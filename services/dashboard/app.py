"""One look at the whole loop: all services are asked in parallel, and none can break the page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from services.dashboard.domain import (
    Alarm,
    Course,
    Courses,
    Loop,
    Part,
    Personas,
    Served,
    Stream,
)
from services.dashboard.ports import Peers
from shared.language.errors import DeadlineExceeded, NotFound, TrimtabError, Unavailable
from shared.language.policies import check_policy_id, policy_of_version

T = TypeVar("T")
V = TypeVar("V", Alarm, Course, Stream)

# How many of all policies' alarms are looked through for those of one.
_LOOKED_THROUGH = 500
# How many policies' looks are kept.
_MOST_WINDOWS = 32

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


@dataclass(frozen=True, slots=True)
class Asked:
    """What to look at."""

    tenant: str
    # Empty: all of them.
    policy: str = ""
    window_s: int = 3 * 3600
    runs: int = 8
    alarms: int = 20
    personas: int = 6


@dataclass
class Answers:
    """Collects answers by section, and why an answer is missing."""

    troubles: dict[str, str] = field(default_factory=dict)

    async def of(self, section: str, asked: Awaitable[T], nothing: T) -> T:
        """The answer; `nothing` if there is nothing yet, which is not a problem, or if there was no answer,
        which is."""
        try:
            return await asked
        except NotFound:
            return nothing
        except TrimtabError as error:
            self.troubles[section] = error.message
            return nothing


async def look(peers: Peers, asked: Asked, now: datetime, before: Loop | None = None) -> Loop:
    """Never raises because a service is unavailable or slow: its section says so and shows what was known
    `before`."""
    answers = Answers()
    since = now - timedelta(seconds=asked.window_s)
    parts = asyncio.gather(*(_part(peers, name, before) for name in PLACES))
    served, runs, alarms, streams, courses, personas = await asyncio.gather(
        answers.of("serving", _served(peers, asked.policy), Served()),
        answers.of("runs", peers.runs(asked.runs, asked.policy), ()),
        answers.of("alarms", peers.alarms(_LOOKED_THROUGH if asked.policy else asked.alarms), ()),
        answers.of("streams", peers.streams(), ()),
        answers.of("course", peers.courses(since), Courses()),
        answers.of("personas", peers.personas(asked.personas), Personas()),
    )
    seen = Loop(
        time=now.isoformat(timespec="seconds"),
        tenant=asked.tenant,
        policy=asked.policy,
        policies=served.policies,
        parts=tuple(await parts),
        rollouts=served.rollouts,
        runs=runs,
        alarms=_of_policy(asked.policy, alarms)[: asked.alarms],
        streams=_of_policy(asked.policy, streams),
        courses=_of_policy(asked.policy, courses.by_version),
        bucket_s=courses.bucket_s,
        personas=personas.newest,
        persona_count=personas.count,
        troubles=answers.troubles,
    )
    return _kept(seen, before)


async def _served(peers: Peers, policy: str) -> Served:
    policies = await peers.policies()
    shown = [one for one in policies if policy in ("", one)]
    found = await asyncio.gather(*map(peers.rollout, shown))
    return Served(policies, tuple(one for one in found if one is not None))


def _of_policy(policy: str, items: Sequence[V]) -> tuple[V, ...]:
    """What is about versions of the policy; all of it if none is named."""
    return tuple(
        one for one in items if not policy or policy_of_version(one.model_version) == policy
    )


# The fields of a Loop that each section fills.
_FIELDS = {
    "serving": ("policies", "rollouts"),
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
        went = await peers.passage(name)
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
        stages=went.stages,
        lag=went.lag,
        outbox_pending=went.outbox_pending,
    )


def advice(part: str, error: TrimtabError) -> str:
    """What to do next, for the person on call."""
    if isinstance(error, DeadlineExceeded):
        return "The machine may be busy; the figures shown are the last ones known."
    if isinstance(error, Unavailable):
        return f"'make status' and 'make logs' show why; 'make up' starts {part} again."
    return f"{part} answers with an error: see 'make logs'."


@dataclass
class Window:
    """The last look, shared by all requests within `fresh_s`, so that ten open pages cost no more than one."""

    peers: Peers
    asked: Asked
    clock: Callable[[], datetime]
    fresh_s: float = 1.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _last: tuple[datetime, Loop] | None = None

    async def look(self) -> Loop:
        async with self._lock:
            at, seen = self._last or (None, None)
            if seen is None or at is None or self.clock() - at > timedelta(seconds=self.fresh_s):
                seen = await look(self.peers, self.asked, self.clock(), seen)
                self._last = self.clock(), seen
            return seen


@dataclass
class Windows:
    """One for each policy that was looked at lately, and one for all of them (""). InvalidArgument for what
    cannot be a policy."""

    opened: Callable[[str], Window]
    _held: dict[str, Window] = field(default_factory=dict)

    async def look(self, policy: str) -> Loop:
        check_policy_id(policy)
        window = self._held.pop(policy, None) or self.opened(policy)
        self._held[policy] = window
        if len(self._held) > _MOST_WINDOWS:
            del self._held[next(iter(self._held))]
        return await window.look()
