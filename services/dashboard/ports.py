"""What the dashboard asks of the other services. Every call ends within its deadline."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from services.dashboard.domain import (
    Alarm,
    Courses,
    Passage,
    Personas,
    Rollout,
    Run,
    Stream,
)


class Peers(Protocol):
    """Each call raises TrimtabError: Unavailable when the service is away, DeadlineExceeded when it is slow,
    NotFound when there is nothing yet."""

    async def passage(self, part: str) -> Passage:
        """What went through a service."""

    async def answers(self, part: str) -> None:
        """Returns if the service, which speaks HTTP alone, is healthy."""

    async def rollout(self) -> Rollout | None: ...

    async def runs(self, most: int) -> tuple[Run, ...]:
        """Newest first."""

    async def alarms(self, most: int) -> tuple[Alarm, ...]:
        """Newest first."""

    async def streams(self) -> tuple[Stream, ...]: ...

    async def courses(self, since: datetime) -> Courses:
        """Of dissatisfaction."""

    async def personas(self, most: int) -> Personas: ...
