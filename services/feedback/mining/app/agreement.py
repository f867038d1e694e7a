"""How often the judge of unsure follow-ups agrees with people: until that is proven, nothing uses its answers.

Compared with what the same user said of the answer outside the conversation (thumbs, ratings; the middle of a
scale is left out), on follow-ups where the fast heads abstained: whether the user was dissatisfied. It is asked
before every use, so that an interval for one look would let a bad judge pass sooner or later. Instead two tests
by betting (shared.statistics.betting), which may be looked at after every user, must both reject:

- that the judge agrees with people no more often than `least`;
- that it agrees no more often than always giving the answer that was more common among the users before.

Each user brings one value, their first comparison: a user's follow-ups are alike. The chance to ever trust a
judge for which either holds is at most `error`. One that gets worse loses its wealth, and the trust with it.
The rate that is shown is of up to `most_per_user` follow-ups of each user, its interval widened by user. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

from services.feedback.mining.domain import Compared
from services.feedback.mining.ports import JudgementReads
from shared.statistics.betting import START, bet, log_mean_exp
from shared.statistics.intervals import Interval, rate


@dataclass(frozen=True, slots=True)
class Agreement:
    """`commonest`: how often always giving the more common answer is right."""

    rate: Interval
    commonest: float
    trusted: bool


@dataclass(frozen=True, slots=True)
class TrustRules:
    """What the agreement must be above, on `min_follow_ups` of `min_users` at least."""

    min_follow_ups: int = 100
    min_users: int = 20
    least: float = 0.75
    error: float = 0.05
    most_per_user: int = 5

    def agreement(self, compared: Sequence[Compared]) -> Agreement:
        """`compared` in the order in which it came to be known."""
        kept = _first_of_each(compared, self.most_per_user)
        shown = rate(
            [float(one.judged_bad == one.said_bad) for one in kept],
            [one.user_id for one in kept],
        )
        bad = sum(one.said_bad for one in kept)
        commonest = max(bad, len(kept) - bad) / len(kept) if kept else 0.0
        enough = shown.count >= self.min_follow_ups and shown.groups >= self.min_users
        return Agreement(shown, commonest, enough and self._is_proven(compared))

    def _is_proven(self, compared: Sequence[Compared]) -> bool:
        return all(one >= log(1.0 / self.error) for one in evidence(compared, self.least))


def evidence(compared: Sequence[Compared], least: float) -> tuple[float, float]:
    """Logarithms of both tests' e-values, against `least` and against always giving the more common
    answer."""
    above, surer = START, START
    bad = good = 0
    for one in _first_of_each(compared, 1):
        right = float(one.judged_bad == one.said_bad)
        commoner = float(one.said_bad == (bad > good))
        if least > 0.0:
            above = bet(above, right - least, worst=least)
        surer = bet(surer, right - commoner, worst=1.0)
        bad, good = bad + one.said_bad, good + (not one.said_bad)
    return log_mean_exp(above) if least > 0.0 else float("inf"), log_mean_exp(surer)


def _first_of_each(compared: Iterable[Compared], most: int) -> list[Compared]:
    counts: dict[str, int] = {}
    kept = []
    for one in compared:
        counts[one.user_id] = counts.get(one.user_id, 0) + 1
        if counts[one.user_id] <= most:
            kept.append(one)
    return kept


@dataclass(frozen=True, slots=True)
class Trust:
    """Of one served model, looked up each time: its agreement with people may rise and fall."""

    judgements: JudgementReads
    model: str
    rules: TrustRules
    most_compared: int = 5000

    def agreement(self, tenant: str) -> Agreement:
        return self.rules.agreement(
            self.judgements.compared(tenant, self.model, self.most_compared)
        )
