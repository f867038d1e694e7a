"""What drift needs from outside. Adapters: `SqlStreams` and `SqlReadings`; their in-memory twin is `sqlite://`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.drift.domain import Alarm, Bucket, Observation, StreamKey, StreamState
from shared.language.paging import Term


class Streams(Protocol):
    """The state of all streams within one transaction."""

    def load(self, key: StreamKey) -> StreamState | None: ...

    def save(self, state: StreamState) -> None: ...

    def places(self, key: StreamKey) -> dict[str, int]:
        """The groups of people that have a stream of the same figure and version, with their places."""

    def first_of_conversation(self, key: StreamKey, conversation_id: str) -> bool:
        """True the first time for a conversation and key, which it remembers."""

    def remember(self, observation: Observation, epoch: int, position: int) -> None: ...

    def recalled(self, key: StreamKey, epoch: int, start: int) -> list[Observation]:
        """Kept observations from position `start` on, in order."""

    def forget(self, key: StreamKey, epoch: int, before: int) -> None: ...

    def add_vector(self, key: StreamKey, epoch: int, vector: NDArray[np.float32]) -> None: ...

    def vectors(self, key: StreamKey, epoch: int) -> NDArray[np.float32]:
        """The reference's vectors, (n, d), in order."""

    def draw(self, observation: Observation) -> None:
        """Adds the value to its bucket of the course over time."""

    def raise_alarm(self, alarm: Alarm) -> None:
        """Stores the alarm and emits drift.detected.v1."""


class Readings(Protocol):
    """Committed state of one tenant."""

    def alarms(
        self, tenant: str, terms: Sequence[Term], after: tuple[float, str] | None, size: int
    ) -> list[Alarm]:
        """Newest first. `after`: (creation time, id) of the last alarm on the previous page."""

    def alarm(self, tenant: str, alarm_id: str) -> Alarm:
        """Raises NotFound, also for another tenant's alarm."""

    def streams(self, tenant: str) -> list[StreamState]: ...

    def buckets(
        self,
        stream: str,
        tenant: str,
        width_s: int,
        start: datetime | None,
        end: datetime | None,
        group: str = "",
    ) -> tuple[list[Bucket], int]:
        """Everyone's buckets, or a group's, ordered by time and version, and their width. A `width_s` of 0
        means: choose one."""
