"""Where a turn is in the loop, or why it ended: what each service knows about its own stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

MADE, ABSTAINED, DROPPED, WAITING = "made", "abstained", "dropped", "waiting"


@dataclass(frozen=True, slots=True)
class LineageStep:
    """What a stage did with a turn (`turn_id` empty: with the conversation), or with something made from it;
    `name` is what it made. `outcome` and `reason` are those of the stage's counts."""

    stage: str
    turn_id: str
    outcome: str
    reason: str = ""
    detail: str = ""
    name: str = ""
    time: datetime | None = None


class Lineage:
    """A service's answers, from its own store. This one has none: for services that no turn goes through."""

    def steps(self, tenant: str, conversation_id: str, turn_id: str) -> Sequence[LineageStep]:
        """In the order of the service's stages, within a stage by time; of all turns if `turn_id` is empty.
        Nothing of another tenant. Raises Unavailable while the store is unavailable."""
        return ()

    def turn_of(self, tenant: str, completion_id: str) -> tuple[str, str] | None:
        """(conversation id, turn id) of a completion; None if the service does not know it."""
        return None
