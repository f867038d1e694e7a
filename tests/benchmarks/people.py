"""`make bench-people`: whom a loop helps and whom it hurts. One JSON line a figure.

people.rollouts.CASE    of 1,000 simulated rollouts (--rollouts): the share that is promoted, with a 95%
                        interval; the median number of users until it is, judged by group and by the test of
                        everyone alone

people.groups.POPULATION    who is in which group, learnt from made-up users (people_groups.py; --seeds)

people.kept                 what keeping praised answers does (people_kept.py; --seeds); only if asked for by
                            --only kept: it trains the real model twice a seed, in some ten minutes

people.told.WHAT            what can be chosen of one adapter after its training (people_told.py; --seeds); only
                            if asked for by --only told: it trains the real model twice a seed, in ten minutes

people.loops.POPULATION    whole untouched loops on the real model (people_loops.py; --seeds); only if asked
                           for by --only loops, because each takes some ten minutes

In simulated rollouts users arrive one by one and fall on either arm by chance; each brings one value. Groups
are known of the share of users in --known; the others are "unknown". Only loops start services.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import numpy as np

from services.registry.domain.decisions import Kind, decide, observed
from services.registry.domain.rollouts import Observation, Rollout, RolloutRules
from shared.language.groups import CONTENT_BEFORE, UNKNOWN
from shared.language.interests import ConflictRule, Interests
from shared.language.policies import PolicyKey
from shared.statistics.intervals import wilson
from tests.benchmarks import people_groups, people_kept, people_loops, people_told

START = datetime(2026, 1, 1, tzinfo=UTC)
CHAMPION, CANARY = "assistant-v0", "assistant-v1"
SAD, GLAD = "reattempt_with_feedback", "positive"
MOST_USERS = 1500


@dataclass(frozen=True, slots=True)
class Group:
    """`share` of all users, of whom `champion` and `canary` are the shares dissatisfied with each."""

    share: float
    champion: float
    canary: float


CASES: Mapping[str, Mapping[str, Group]] = {
    "helps_80_hurts_20": {
        "shorter": Group(0.8, 0.9, 0.4),
        "longer": Group(0.2, 0.1, 0.6),
    },
    "helps_95_hurts_5": {
        "shorter": Group(0.95, 0.9, 0.4),
        "longer": Group(0.05, 0.1, 0.6),
    },
    "helps_all": {
        "shorter": Group(0.8, 0.9, 0.4),
        "longer": Group(0.2, 0.7, 0.2),
    },
    "helps_80_same_for_20": {
        "shorter": Group(0.8, 0.9, 0.4),
        "longer": Group(0.2, 0.05, 0.05),
    },
    # Nobody is told apart: known is only who was content before. Three in five of these are the few.
    "helps_80_hurts_20_untold": {
        CONTENT_BEFORE: Group(0.33, 0.38, 0.63),
        UNKNOWN: Group(0.67, 0.90, 0.15),
    },
    "helps_all_untold": {
        CONTENT_BEFORE: Group(0.25, 0.93, 0.08),
        UNKNOWN: Group(0.75, 0.95, 0.08),
    },
    "same_for_all": {
        "shorter": Group(0.8, 0.5, 0.5),
        "longer": Group(0.2, 0.1, 0.1),
    },
}


@dataclass(frozen=True, slots=True)
class Ending:
    """`users`: how many had spoken by then."""

    is_promoted: bool
    users: int


def simulated(case: Mapping[str, Group], interests: Interests, known: float, seed: int) -> Ending:
    """One rollout, looked at after every user; one that is undecided after MOST_USERS is not promoted."""
    rng = np.random.default_rng(seed)
    rules = RolloutRules()
    rollout = Rollout(
        PolicyKey("t"), 1, (CHAMPION,), START, CANARY, 0.5, START, rules=rules, interests=interests
    )
    names, shares = list(case), [one.share for one in case.values()]
    for number in range(1, MOST_USERS + 1):
        name = str(rng.choice(names, p=shares))
        on_canary = bool(rng.random() < 0.5)
        rate = case[name].canary if on_canary else case[name].champion
        seen = Observation(
            tenant="t",
            user=str(number),
            model_version=CANARY if on_canary else CHAMPION,
            source="follow_up",
            kind=SAD if rng.random() < rate else GLAD,
            abstained=False,
            time=START,
            groups=(name if rng.random() < known else UNKNOWN,),
        )
        rollout = observed(rollout, seen, rules)
        if found := decide(rollout, rules, START):
            return Ending(found.kind is Kind.PROMOTE, number)
    return Ending(False, MOST_USERS)


def by_everyone(seed: int, case: Mapping[str, Group], known: float) -> Ending:
    """By the test of everyone alone, as if there were no groups."""
    return simulated(case, Interests(ConflictRule.MEAN), known, seed)


def figures(name: str, rollouts: int, known: float) -> dict[str, object]:
    case = CASES[name]
    ours = [simulated(case, Interests(), known, seed) for seed in range(rollouts)]
    theirs = [by_everyone(seed, case, known) for seed in range(rollouts)]
    promoted = sum(one.is_promoted for one in ours)
    low, high = wilson(promoted, rollouts)
    return {
        "name": f"people.rollouts.{name}",
        "value": promoted / rollouts,
        "unit": "share promoted",
        "low": round(low, 4),
        "high": round(high, 4),
        "rollouts": rollouts,
        "known": known,
        "by_everyone": sum(one.is_promoted for one in theirs) / rollouts,
        "users_median": users(ours),
        "users_median_by_everyone": users(theirs),
        "ended_median": median(one.users for one in ours),
    }


def users(endings: list[Ending]) -> float | None:
    """The median number of users of those that were promoted."""
    promoted = [one.users for one in endings if one.is_promoted]
    return median(promoted) if promoted else None


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure whom a loop helps and whom it hurts.")
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument(
        "--known", type=float, default=0.8, help="share of users whose group is known"
    )
    parser.add_argument("--seeds", type=int, default=3, help="of each population of --only groups")
    parser.add_argument(
        "--only",
        choices=("groups", "rollouts", "kept", "told", "loops"),
        help="by default groups and rollouts",
    )
    parser.add_argument(
        "--populations",
        nargs="+",
        choices=tuple(people_loops.POPULATIONS),
        default=list(people_loops.POPULATIONS),
        help="of --only loops; all by default",
    )
    given = parser.parse_args()
    if given.only == "loops":
        people_loops.measure(given.seeds, given.populations)
        return
    if given.only == "kept":
        people_kept.measure(given.seeds)
        return
    if given.only == "told":
        people_told.measure(given.seeds)
        return
    if given.only != "rollouts":
        people_groups.measure(given.seeds)
    for name in CASES if given.only != "groups" else ():
        print(json.dumps(figures(name, given.rollouts, given.known)), flush=True)


if __name__ == "__main__":
    main()
