"""What drift needs from outside. The adapters are `SqlStreams` and `SqlReadings`; `sqlite://` is their twin."""

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

    def first_of_conversation(self, key: StreamKey, conversation_id: str) -> bool:
        """True once for each conversation and key: remembers it."""

    def remember(self, observation: Observation, epoch: int, position: int) -> None: ...

    def recalled(self, key: StreamKey, epoch: int, start: int) -> list[Observation]:
        """What is kept from `start` on, in order."""

    def forget(self, key: StreamKey, epoch: int, before: int) -> None: ...

    def add_vector(self, key: StreamKey, epoch: int, vector: NDArray[np.float32]) -> None: ...

    def vectors(self, key: StreamKey, epoch: int) -> NDArray[np.float32]:
        """The reference's vectors, (n, d), in order."""

    def draw(self, observation: Observation) -> None:
        """Adds the value to its bucket."""

    def raise_alarm(self, alarm: Alarm) -> None:
        """Keeps it and emits drift.detected.v1."""


class Readings(Protocol):
    """What is committed, of one tenant."""

    def alarms(
        self, tenant: str, terms: Sequence[Term], after: tuple[float, str] | None, size: int
    ) -> list[Alarm]:
        """Newest first; `after`: the (creation, id) of the last one of the page before."""

    def alarm(self, tenant: str, alarm_id: str) -> Alarm:
        """Raises NotFound, also for another tenant's."""

    def streams(self, tenant: str) -> list[StreamState]: ...

    def buckets(
        self,
        stream: str,
        tenant: str,
        width_s: int,
        start: datetime | None,
        end: datetime | None,
    ) -> tuple[list[Bucket], int]:
        """In order of time and version, and their width; `width_s` 0 chooses one."""
