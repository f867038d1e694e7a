"""How much each tenant may ask of a process, per second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from shared.language.errors import ResourceExhausted
from shared.language.keys import Quota


class Quotas:
    """Token buckets by tenant, in this process: with two replicas a tenant has twice its quota.

    A batch larger than a bucket is accepted when the bucket is full, and what follows waits longer:
    otherwise it could never be accepted.
    """

    def __init__(
        self, quotas: Callable[[], Mapping[str, Quota]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quotas, self._clock = quotas, clock
        self._levels: dict[tuple[str, str], tuple[float, float]] = {}
        self._lock = threading.Lock()

    def request(self, tenant: str) -> None:
        """Charges one request. Raises ResourceExhausted with the delay after which to retry."""
        quota = self._quotas().get(tenant)
        if quota is not None and quota.requests_per_s:
            self._take(tenant, "requests", 1, quota.requests_per_s, quota.burst_s)

    def turns(self, tenant: str, count: int) -> None:
        """As `request`, for a batch of turns or feedback."""
        quota = self._quotas().get(tenant)
        if quota is not None and quota.turns_per_s and count:
            self._take(tenant, "turns", count, quota.turns_per_s, quota.burst_s)

    def _take(self, tenant: str, what: str, count: int, rate: float, burst_s: float) -> None:
        capacity = max(rate * burst_s, 1.0)
        with self._lock:
            now = self._clock()
            level, then = self._levels.get((tenant, what), (capacity, now))
            level = min(capacity, level + (now - then) * rate)
            missing = min(count, capacity) - level
            if missing <= 1e-9:
                self._levels[(tenant, what)] = (level - count, now)
                return
            self._levels[(tenant, what)] = (level, now)
        raise ResourceExhausted(
            f"tenant {tenant!r} may send {rate:g} {what} a second",
            reason=f"QUOTA_{what.upper()}",
            retry_after_s=missing / rate,
        )
