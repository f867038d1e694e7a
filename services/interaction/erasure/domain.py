"""An erasure in the audit, and its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

# The second round removes what was in transit between services during the first.
ROUNDS = 2


class ErasureStep(StrEnum):
    """Each step begins the next in its own transaction, so that after a kill -9 a step may be repeated but none
    is skipped."""

    # The user's keys are closed: from now on nobody can open what they sealed.
    CLOSE = "close"
    # After twice the time that caches may be old: every service is asked to remove its data.
    ASK = "ask"
    # All services have reported all rounds: the keys are destroyed.
    DESTROY = "destroy"
    # After the time that caches may be old, again: the user's id is removed from the audit.
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Report:
    """One service's report of one round. `removals`: how much was removed, by place."""

    service: str
    round: int
    removals: Mapping[str, int]
    model_versions: Sequence[str]
    created: float


@dataclass(frozen=True, slots=True)
class Audit:
    """One erasure. Times are Unix times; `ended` is 0 while it is under way."""

    erasure: str
    tenant: str
    subject: str
    actor: str
    created: float
    ended: float
    round: int
    services: tuple[str, ...]
    keys_destroyed: int
    # Empty once it has ended.
    user_id: str
    reports: tuple[Report, ...] = ()

    @property
    def waiting_for(self) -> list[str]:
        """The services that have not reported the current round."""
        reported = {report.service for report in self.reports if report.round == self.round}
        return [] if self.ended else [name for name in self.services if name not in reported]

    @property
    def model_versions(self) -> list[str]:
        return sorted({version for report in self.reports for version in report.model_versions})


def operation_name(erasure: str) -> str:
    return f"operations/erase-{erasure}"


def erasure_name(erasure: str) -> str:
    return f"erasures/{erasure}"
