"""How often the judge of unsure follow-ups says what people said: before that is known, nothing uses it.

Compared with what the same user said of the answer outside the conversation (thumbs, ratings; the middle of a
scale is left out), on follow-ups where the fast heads abstained: whether the user was dissatisfied. Wilson's
interval (shared.statistics.intervals) takes cases for independent, so that few of one user count. A judge that
says the commoner thing of everything agrees as often as that is common: to be trusted, it must be surer than
that. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.feedback.mining.domain import Compared
from services.feedback.mining.ports import JudgementReads
from shared.statistics.intervals import wilson


@dataclass(frozen=True, slots=True)
class Agreement:
    """The rate with its 95% interval. `commonest`: how often whoever says the commoner thing is right."""

    rate: float
    low: float
    high: float
    follow_ups: int
    users: int
    commonest: float
    trusted: bool


@dataclass(frozen=True, slots=True)
class TrustRules:
    """`least`: what the interval's lower end must reach, on `min_follow_ups` of `min_users`."""

    min_follow_ups: int = 100
    min_users: int = 20
    least: float = 0.75
    most_per_user: int = 5

    def agreement(self, compared: Iterable[Compared]) -> Agreement:
        """`compared` newest first."""
        counts: dict[str, int] = {}
        kept: list[Compared] = []
        for one in compared:
            counts[one.user_id] = counts.get(one.user_id, 0) + 1
            if counts[one.user_id] <= self.most_per_user:
                kept.append(one)
        n, right = len(kept), sum(one.judged_bad == one.said_bad for one in kept)
        low, high = wilson(right, n)
        bad = sum(one.said_bad for one in kept)
        commonest = max(bad, n - bad) / n if n else 0.0
        enough = n >= self.min_follow_ups and len(counts) >= self.min_users
        trusted = enough and low >= self.least and low > commonest
        return Agreement(right / n if n else 0.0, low, high, n, len(counts), commonest, trusted)


@dataclass(frozen=True, slots=True)
class Trust:
    """Of one served model, looked up each time: its agreement with people may rise and fall."""

    judgements: JudgementReads
    model: str
    rules: TrustRules
    most_compared: int = 2000

    def agreement(self, tenant: str) -> Agreement:
        return self.rules.agreement(
            self.judgements.compared(tenant, self.model, self.most_compared)
        )
