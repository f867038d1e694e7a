"""What users can cause at most: per-user caps keep a few from steering the model."""

from __future__ import annotations

from dataclasses import dataclass

from services.feedback.mining.domain import Mined
from services.feedback.pairs.domain import PAIRS, day_of
from services.feedback.pairs.ports import PairWork


@dataclass(frozen=True, slots=True)
class UserLimits:
    persona_min_turns: int = 3
    pairs_per_user_day: int = 20
    ubr_per_user_day: int = 1
    # The share of satisfied exchanges that are sampled for user-based rewards.
    ubr_share: float = 0.1
    rewrite_min_probability: float = 0.6
    live_channels: tuple[str, ...] = ("openai",)


def may_pair(limits: UserLimits, mined: Mined, work: PairWork) -> bool:
    """Takes one of the user's pairs of the day; counts if there is none left."""
    day = day_of(mined.create_time)
    if work.users.spend(mined.tenant, mined.user_id, "pairs", day, limits.pairs_per_user_day):
        return True
    work.count(PAIRS, "abstained", "USER_CAP")
    return False
