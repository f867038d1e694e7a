"""Where a preference pair stands, and how it is called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.language.identifiers import stable_id
from shared.language.pairs import Pair

# The stage that counts them; kinds of jobs, each with a worker of its own: live traffic goes first.
PAIRS = "feedback.pairs"
# Why a pair is not made, or dropped: its user has taken back the feedback that it rests on.
REPLACED = "REPLACED"
REWRITE_LIVE, REWRITE_BACKLOG, SAMPLE = "rewrite.live", "rewrite.backlog", "sample"
# How `pair_id` calls the source of a demonstration, edits included.
DEMONSTRATED = ""


class PairState(StrEnum):
    PROPOSED = "proposed"
    KEPT = "kept"
    DROPPED = "dropped"
    # Never proposed: a filter found it unfit to learn from.
    FILTERED = "filtered"


@dataclass(frozen=True, slots=True)
class StoredPair:
    pair: Pair
    state: PairState
    reason: str = ""


def pair_id(name: str, tenant: str, feedback_id: str) -> str:
    """Of the pair that is made of a piece of feedback; `name` is its source, or DEMONSTRATED."""
    return stable_id(*(("pair", name) if name else ("pair",)), tenant, feedback_id)


def day_of(moment: datetime) -> str:
    return moment.date().isoformat()
