"""`make bench-rollout`: what rollouts make of canaries that are worse, equal or better. One JSON line a figure.

rollout.simulated.CASE    of 1,000 simulated rollouts (--rollouts): the shares that went back because the canary
                          was measurably worse, and that were promoted, each with a 95% interval; the median
                          number of users, and of those on the canary, until they went back, or were promoted;
                          beside the fixed-horizon test's: as many users on each arm as a one-sided z-test of
                          two proportions needs for the same alpha and a power of 0.8, if anything differs

rollout.answers.CASE    of 1,000 simulated rollouts (--rollouts): the share that went back because answers
                        failed more often or came later, and the median number of users until then
                        (rollout_answers.py)

rollout.switch.KIND    20 promotions and rollbacks (--switches) while 32 users chat in streams, on a real
                       registry and gateway (rollout_switch.py): seconds from the call to the first token of an
                       answer by the version that serves now, and for how long after the call returned answers
                       were asked for that the former one wrote
rollout.switch.answers    of all these answers: how many failed, and how many another version wrote than the one
                          that the gateway said

In simulated rollouts users arrive one by one and fall on either arm by its share; each brings one value, and
the rollout is looked at after each. Time does not pass. Only switches start services.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from math import ceil, sqrt
from statistics import NormalDist, median

import numpy as np

from services.registry.domain.decisions import Kind, decide
from services.registry.domain.rollouts import Rollout, RolloutRules
from shared.language.policies import PolicyKey
from shared.statistics.betting import update
from shared.statistics.intervals import wilson
from tests.benchmarks import rollout_answers, rollout_switch

START = datetime(2026, 1, 1, tzinfo=UTC)
POWER = 0.8
STRICT = RolloutRules(worse_by=0.0)


@dataclass(frozen=True, slots=True)
class Case:
    """Shares of users who are dissatisfied with the champion and with the canary. `most_users`: after so many,
    a rollout counts as undecided."""

    champion: float
    canary: float
    most_users: int
    rules: RolloutRules = field(default_factory=RolloutRules)


CASES: Mapping[str, Case] = {
    "equal": Case(0.3, 0.3, 4_000, STRICT),
    "worse_by_5": Case(0.3, 0.35, 20_000, STRICT),
    "worse_by_20": Case(0.3, 0.5, 4_000),
    "better_by_20": Case(0.3, 0.1, 4_000),
    "worse_by_20_in_steps": Case(
        0.3, 0.5, 20_000, replace(RolloutRules(), steps="5%:20:1d, 25%:50:1d")
    ),
    "better_by_20_in_steps": Case(
        0.3, 0.1, 20_000, replace(RolloutRules(), steps="5%:20:1d, 25%:50:1d")
    ),
}


@dataclass(frozen=True, slots=True)
class Ending:
    """`kind` is empty for a rollout that was undecided. `users` of both arms, `on_canary` of these."""

    kind: str
    users: int
    on_canary: int


def simulated(case: Case, seed: int) -> Ending:
    rng = np.random.default_rng(seed)
    rules, draws = case.rules, rng.random((case.most_users, 2))
    rollout = Rollout(
        key=PolicyKey("t"),
        revision=1,
        champions=("assistant-v0",),
        update_time=START,
        canary="assistant-v1",
        canary_share=rules.all_steps[0].share,
        start_time=START,
        rules=rules,
    )
    for number, (arm, mood) in enumerate(draws.tolist(), 1):
        on_canary = arm < rollout.canary_share
        value = float(mood < (case.canary if on_canary else case.champion))
        test = update(rollout.test, on_canary=on_canary, value=value, delta=rules.worse_by)
        rollout = replace(rollout, test=test)
        found = decide(rollout, rules, START)
        if found is not None and found.kind is Kind.ADVANCE:
            rollout = rollout.advanced(rules.all_steps[rollout.step + 1].share, START)
        elif found is not None:
            return Ending(found.kind.value, number, test.canary.users)
    return Ending("", case.most_users, rollout.test.canary.users)


def fixed_horizon(case: Case) -> int | None:
    """Users on each arm that the z-test needs; None where there is nothing to be found. That a canary is worse
    is tested as the rollout tests it: by more than what is tolerated."""
    worse_by = case.canary - case.champion
    distance = worse_by - case.rules.worse_by if worse_by > 0 else -worse_by
    if distance <= 0:
        return None
    mean = (case.canary + case.champion) / 2
    sure, power = (NormalDist().inv_cdf(one) for one in (1 - case.rules.alpha, POWER))
    spread = case.champion * (1 - case.champion) + case.canary * (1 - case.canary)
    needed = (sure * sqrt(2 * mean * (1 - mean)) + power * sqrt(spread)) ** 2 / distance**2
    return ceil(needed)


def figures(name: str, rollouts: int) -> dict[str, object]:
    case = CASES[name]
    with ProcessPoolExecutor() as pool:
        endings = list(pool.map(partial(simulated, case), range(rollouts), chunksize=10))
    return {
        "name": f"rollout.simulated.{name}",
        "rollouts": rollouts,
        "champion": case.champion,
        "canary": case.canary,
        "tolerated": case.rules.worse_by,
        "went_back": _of(endings, Kind.ROLL_BACK),
        "promoted": _of(endings, Kind.PROMOTE),
        "fixed_horizon_users": 2 * found if (found := fixed_horizon(case)) else None,
    }


def _of(endings: list[Ending], kind: Kind) -> dict[str, object]:
    ours = [one for one in endings if one.kind == kind.value]
    low, high = wilson(len(ours), len(endings))
    return {
        "share": len(ours) / len(endings),
        "low": round(low, 4),
        "high": round(high, 4),
        "users_median": median(one.users for one in ours) if ours else None,
        "on_canary_median": median(one.on_canary for one in ours) if ours else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what rollouts make of canaries.")
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument("--switches", type=int, default=20)
    kinds = ("simulated", "answers", "switch")
    parser.add_argument("--only", choices=kinds, help="by default all")
    given = parser.parse_args()
    measures = {
        "simulated": lambda: (figures(name, given.rollouts) for name in CASES),
        "answers": lambda: rollout_answers.measure(given.rollouts),
        "switch": lambda: rollout_switch.measure(given.switches),
    }
    for kind in [given.only] if given.only else kinds:
        for figure in measures[kind]():
            print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
