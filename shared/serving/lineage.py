"""Where a turn is in the loop, or why it ended: what each service tells of its own part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

MADE, ABSTAINED, DROPPED, WAITING = "made", "abstained", "dropped", "waiting"


@dataclass(frozen=True, slots=True)
class Step:
    """What a stage did with a turn (`turn_id` empty: with the conversation), or with what was made of
    it; `name` is what it made. `outcome` and `reason` are those of the stage's counts."""

    stage: str
    turn_id: str
    outcome: str
    reason: str = ""
    detail: str = ""
    name: str = ""
    time: datetime | None = None


class Tracer:
    """A service's answers, from its own store. This one knows of nothing: for services through which
    no turn goes."""

    def steps(self, tenant: str, conversation_id: str, turn_id: str) -> Sequence[Step]:
        """In the order of the service's stages, within one by time; all turns if `turn_id` is empty.
        Nothing of another tenant."""
        return ()

    def turn_of(self, tenant: str, completion_id: str) -> tuple[str, str] | None:
        """(conversation id, turn id) of a completion, where a service knows."""
        return None
