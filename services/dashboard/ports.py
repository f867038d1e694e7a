"""What the dashboard asks the other services. Every call ends within its deadline."""

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
    Verdict,
)


class Peers(Protocol):
    """Calls raise TrimtabError: Unavailable if the service cannot be reached, DeadlineExceeded if it is slow,
    NotFound if there is nothing yet."""

    async def passage(self, part: str) -> Passage:
        """What went through a service."""

    async def answers(self, part: str) -> None:
        """Returns if a service without gRPC is healthy; otherwise raises Unavailable."""

    async def policies(self) -> tuple[str, ...]: ...

    async def rollout(self, policy: str) -> Rollout | None: ...

    async def verdict(self, version: str) -> Verdict:
        """NotFound if there is no such version."""

    async def runs(self, most: int, policy: str) -> tuple[Run, ...]:
        """Newest first; of all policies if `policy` is empty."""

    async def report(self, run: str) -> str:
        """A run's report, as a page. NotFound if there is no such run."""

    async def alarms(self, most: int) -> tuple[Alarm, ...]:
        """Newest first."""

    async def streams(self) -> tuple[Stream, ...]: ...

    async def courses(self, since: datetime) -> Courses:
        """Dissatisfaction over time."""

    async def personas(self, most: int) -> Personas: ...
