"""What rollouts make of canaries whose answers fail or come late (services/registry/domain/answers.py).

Users arrive one by one and fall on either arm by halves; each brings the first answer: it fails, or its first
words come after so many seconds, a log-normal time of one second in the median and a spread of 0.5. The rollout
is looked at after each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np

from services.registry.domain.answers import Answered, AnswerTests, observed, worse
from services.registry.domain.rollouts import RolloutRules
from shared.language.policies import PolicyKey
from shared.statistics.intervals import wilson

KEY, CANARY, CHAMPION = PolicyKey("t"), "assistant-v1", "assistant-v0"
RULES = RolloutRules()


@dataclass(frozen=True, slots=True)
class Case:
    """Shares of answers that fail, and how many times as long the canary's users wait."""

    champion_fails: float
    canary_fails: float
    times: float = 1.0
    most_users: int = 2_000


CASES: Mapping[str, Case] = {
    "equal": Case(0.01, 0.01),
    "fails_5_points_more": Case(0.01, 0.06, most_users=8_000),
    "fails_30_points_more": Case(0.01, 0.31),
    "half_as_long_again": Case(0.01, 0.01, times=1.5),
    "twice_as_long": Case(0.01, 0.01, times=2.0),
    "three_times_as_long": Case(0.01, 0.01, times=3.0),
}


def went_back(case: Case, seed: int) -> int:
    """After how many users; 0 if it does not."""
    rng = np.random.default_rng(seed)
    arms, fates = rng.random((2, case.most_users)).tolist()
    waits = rng.lognormal(0.0, 0.5, case.most_users).tolist()
    tests = AnswerTests()
    for number, (arm, fate, wait_s) in enumerate(zip(arms, fates, waits, strict=True)):
        on_canary = arm < 0.5
        failed = fate < (case.canary_fails if on_canary else case.champion_fails)
        version, times = (CANARY, case.times) if on_canary else (CHAMPION, 1.0)
        time = None if failed else times * wait_s
        tests = observed(tests, Answered(KEY, CANARY, version, str(number), failed, time), RULES)
        if worse(tests, RULES):
            return number + 1
    return 0


def measure(rollouts: int) -> Iterator[dict[str, object]]:
    for name, case in CASES.items():
        with ProcessPoolExecutor() as pool:
            found = list(pool.map(partial(went_back, case), range(rollouts), chunksize=10))
        back = [users for users in found if users]
        low, high = wilson(len(back), rollouts)
        yield {
            "name": f"rollout.answers.{name}",
            "rollouts": rollouts,
            "most_users": case.most_users,
            "went_back": len(back) / rollouts,
            "low": round(low, 4),
            "high": round(high, 4),
            "users_median": median(back) if back else None,
        }
