"""Calls that wait to be published, in a lane for each tenant: no tenant can fill the room or delay the others.

A tenant may have as much waiting as there is room left (the dynamic threshold of A. K. Choudhury and
E. L. Hahne, 1998): one that floods uses half of the room, two a third each, and some room is always left for
the next one. Lanes are served in turn; within a lane order is kept.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from typing import Generic, Protocol, TypeVar

from shared.language.errors import ResourceExhausted


class Sized(Protocol):
    @property
    def tenant(self) -> str: ...

    @property
    def size(self) -> int:
        """In events."""


Call = TypeVar("Call", bound=Sized)


class Lanes(Generic[Call]):
    """Thread-safe. `room` in events, including those taken out and not yet released."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._changed = threading.Condition()
        self._lanes: OrderedDict[str, deque[Call]] = OrderedDict()
        self._waiting: Counter[str] = Counter()
        self._total = 0

    def reserve(self, tenant: str, size: int) -> None:
        """Reserves room for a call before any work is done for it, so that refusing it costs next to nothing.
        ResourceExhausted if the tenant has used up its share."""
        with self._changed:
            waiting = self._waiting[tenant]
            if waiting + size > self._room - self._total:
                raise ResourceExhausted(
                    f"{waiting} events of tenant {tenant!r} wait for Kafka; try again in a moment",
                    reason="INTAKE_FULL",
                    retry_after_s=1.0,
                )
            self._waiting[tenant] = waiting + size
            self._total += size

    def put(self, call: Call) -> None:
        """A call that room was reserved for."""
        with self._changed:
            self._lanes.setdefault(call.tenant, deque()).append(call)
            self._changed.notify()

    def take(self, most: int, timeout_s: float) -> list[Call]:
        """Calls with about `most` events, one of each lane in turn; empty after `timeout_s`."""
        with self._changed:
            if not self._lanes:
                self._changed.wait(timeout_s)
            calls: list[Call] = []
            size = 0
            while self._lanes and size < most:
                tenant, lane = self._lanes.popitem(last=False)
                calls.append(lane.popleft())
                size += calls[-1].size
                if lane:
                    self._lanes[tenant] = lane
            return calls

    def release(self, tenant: str, size: int) -> None:
        """Frees the room of what was taken out."""
        with self._changed:
            self._total -= size
            self._waiting[tenant] -= size
            if not self._waiting[tenant]:
                del self._waiting[tenant]

    def __len__(self) -> int:
        """How many calls were not taken out yet."""
        with self._changed:
            return sum(map(len, self._lanes.values()))
