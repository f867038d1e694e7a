"""Whose run is next: there is one trainer, and tenants and their policies take turns.

Among the runs that could begin, the tenant comes first that was served longest ago (one that never was before
all others), then its policy that was served longest ago, then the oldest run. So however many runs others
queue, a tenant waits for at most one run of each other tenant, and a policy for at most one run of each other
policy of its tenant between two turns of its tenant.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush

from services.retrain.domain.runs import Run
from shared.language.policies import PolicyKey

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Served:
    """When the last run of each tenant and policy left the queue; those that none ever did are left out."""

    tenants: Mapping[str, datetime]
    policies: Mapping[PolicyKey, datetime]


def in_turn(ready: Iterable[Run], served: Served) -> list[Run]:
    """The runs in the order in which they will begin, if no other comes."""
    lanes = _lanes(ready)
    # By tenant: its policies, the one that was served longest ago first.
    policies: dict[str, list[tuple[datetime, int, PolicyKey]]] = {}
    for key, lane in lanes.items():
        policies.setdefault(key.tenant, []).append(
            (served.policies.get(key, _NEVER), lane[0].number, key)
        )
    tenants = []
    for tenant, theirs in policies.items():
        heapify(theirs)
        tenants.append((served.tenants.get(tenant, _NEVER), theirs[0]))
    heapify(tenants)
    turn = max((*served.tenants.values(), *served.policies.values()), default=_NEVER)
    line: list[Run] = []
    while tenants:
        _, (_, _, key) = heappop(tenants)
        line.append(lanes[key].popleft())
        turn += timedelta(seconds=1)
        theirs = policies[key.tenant]
        heappop(theirs)
        if lanes[key]:
            heappush(theirs, (turn, lanes[key][0].number, key))
        if theirs:
            heappush(tenants, (turn, theirs[0]))
    return line


def _lanes(runs: Iterable[Run]) -> dict[PolicyKey, deque[Run]]:
    """Each policy's runs, the oldest first."""
    lanes: dict[PolicyKey, deque[Run]] = {}
    for run in sorted(runs, key=lambda one: one.number):
        lanes.setdefault(run.key, deque()).append(run)
    return lanes


def before(run: Run, others: Sequence[Run]) -> str:
    """What a queued run waits for, in words: `others` are ahead of it."""
    if not others:
        return "is next"
    of_others = all(one.key != run.key for one in others)
    if len(others) == 1:
        return f"1 run{' of another policy' if of_others else ''} is ahead of it"
    return f"{len(others)} runs{' of other policies' if of_others else ''} are ahead of it"
