"""What the versions are to a run that were measured for it."""

from __future__ import annotations

from dataclasses import dataclass

from services.retrain.domain.in_context import IN_CONTEXT
from services.retrain.domain.runs import Run

CHAMPION, CANDIDATE, CONTROL = "champion", "candidate", "control"
# The champion, told what users wish for, and what served before any training.
TOLD, FIRST = "in context", "first"


@dataclass(frozen=True, slots=True)
class Versions:
    """Their names; empty if there is none. `first` only while another one is the champion."""

    champion: str
    candidate: str
    control: str
    first: str

    def role(self, version: str) -> str:
        """Its own name if it is none of these."""
        roles = {self.first: FIRST, IN_CONTEXT: TOLD, self.control: CONTROL}
        return (roles | {self.champion: CHAMPION, self.candidate: CANDIDATE}).get(version, version)


def versions_of(run: Run) -> Versions:
    names = (run.champion_version, run.model_version, run.control_version, run.first_version)
    return Versions(*names)
