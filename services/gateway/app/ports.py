"""What the use cases need from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services.gateway.domain.turns import GivenFeedback, LoggedTurn, Refused


class Sink(Protocol):
    """The interaction service. Returns once Kafka holds what was accepted; raises Unavailable (or
    another error that says when to come back) when it does not: the caller repeats the whole."""

    async def log_turns(self, turns: Sequence[LoggedTurn]) -> list[Refused]: ...

    async def log_feedback(
        self, tenant: str, feedback: Sequence[GivenFeedback]
    ) -> tuple[list[str], list[Refused]]:
        """The ids of what was accepted, and what was refused."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The oldest waiting turns. `records` counts unreadable ones, too."""

    turns: list[LoggedTurn]
    records: int
    unreadable: int
    end: tuple[int, int]


class Spool(Protocol):
    """Turns on their way, on disk, in order: what was appended outlives the process."""

    def append(self, turns: Sequence[LoggedTurn]) -> None:
        """All or none. ResourceExhausted if the spool is full, Unavailable if the disk fails."""

    def head(self) -> Batch: ...

    def advance(self, batch: Batch) -> None:
        """Forgets `batch`, which must be the last one that `head` gave."""

    @property
    def pending(self) -> int: ...


class Reply(Protocol):
    """An upstream's answer whose body has not been read."""

    @property
    def status(self) -> int: ...

    @property
    def content_type(self) -> str: ...

    async def read(self) -> bytes:
        """Unavailable if the connection breaks."""

    def lines(self) -> AsyncIterator[str]:
        """Unavailable if the connection breaks."""

    async def close(self) -> None: ...


class Upstream(Protocol):
    async def send(self, body: Mapping[str, Any], tenant: str, user_id: str) -> Reply:
        """Asks the user's replica, or the next one if it breaks before the first byte. Unavailable
        if none answers, DeadlineExceeded if it takes too long."""
