"""Whom a version helps and whom it hurts: figures of the suite `win_rate`, group by group of people.

- `win_rate` of a group, learnt or declared: over all prompts, which answer the group's own reward prefers. The
  prompts are of many users and of none, so it says how the version's answers suit the group, whoever asked.
- `wish_rate` of those who asked for something that can be counted (shared/language/wishes.py): over the same
  prompts, which answer does more of it; none of what cannot.
- `welfare_*` of a version: of each user among the prompts, the mean chance that they would rather have its
  answers than an average one, by the reward of the first group of theirs that has one, the learnt one before
  declared segments (by everyone's if none has); over users the mean, the 20th percentile and the Gini
  coefficient, and the least of the groups' means (shared/statistics/welfare.py). The chance is the logistic
  of the reward (Bradley-Terry), which has mean 0 over the answers that the judge learnt from. Bootstrap by
  user, with the same draws for all versions.

Both are empty, or of one group, where the judge divides nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, fields

import numpy as np

from services.evaluation.domain import Prompt, Request, Version
from services.evaluation.ports import Scores
from shared.language.estimates import Estimate
from shared.language.groups import EVERYONE_ELSE, UNKNOWN, wish_of
from shared.language.wishes import can_be_counted, does_more
from shared.statistics.welfare import Welfare, welfare

_ROUNDS = 500
_LEAST_USERS = 2
Win = Callable[[float, float], float]


def win_rates(
    request: Request,
    asked: Sequence[Prompt],
    found: Mapping[Version, Scores],
    champion: Version,
    win: Win,
    suite: str,
) -> list[Estimate]:
    """For each group, in the order of their names, and rival: against what the champion gives that group."""
    clusters = [prompt.cluster for prompt in asked]
    estimates = []
    for group in groups_of(found[request.model]):
        theirs = found[champion.as_served(champion.served_to((group,)))].of_group(group)
        for version in request.rivals:
            ours = found[version].of_group(group)
            wins = [win(*pair) for pair in zip(ours, theirs, strict=True)]
            estimates.append(request.rate(suite, version, wins, clusters, suite, group))
    return estimates


def wish_rates(
    request: Request,
    asked: Sequence[Prompt],
    written: Mapping[Version, Sequence[str]],
    groups: Sequence[str],
    champion: Version,
    suite: str,
) -> list[Estimate]:
    """For each of the groups that asked for what can be counted, and rival: against what the champion gives
    them."""
    clusters = [prompt.cluster for prompt in asked]
    estimates = []
    for group, wish in ((one, wish_of(one)) for one in groups if can_be_counted(wish_of(one))):
        theirs = written[champion.as_served(champion.served_to((group,)))]
        for version in request.rivals:
            pairs = zip(written[version], theirs, strict=True)
            more = [does_more(wish, *pair) for pair in pairs]
            estimates.append(request.rate("wish_rate", version, more, clusters, suite, group))
    return estimates


def well_being(
    request: Request, asked: Sequence[Prompt], found: Mapping[Version, Scores], suite: str
) -> list[Estimate]:
    """Four figures a version; none with fewer than two users."""
    users = sorted({prompt.user_id for prompt in asked if prompt.user_id})
    if len(users) < _LEAST_USERS:
        return []
    estimates = []
    for version, scores in found.items():
        values, groups = _of_users(users, asked, scores)
        estimates += _estimates(request, version, values, groups, suite)
    return estimates


def groups_of(scores: Scores) -> list[str]:
    """Those by which every answer was scored."""
    return sorted(set.intersection(*map(set, scores.groups))) if scores.groups else []


def _told(prompt: Prompt, told: Sequence[str]) -> str:
    """By which of the user's groups they are judged."""
    others = EVERYONE_ELSE if EVERYONE_ELSE in told else UNKNOWN
    return next((group for group in prompt.groups if group in told), others)


def _of_users(
    users: Sequence[str], asked: Sequence[Prompt], scores: Scores
) -> tuple[list[float], list[int]]:
    """Each user's value, and the number of their group."""
    said: dict[str, list[float]] = {user: [] for user in users}
    told = groups_of(scores)
    people = {one.user_id: _told(one, told) for one in asked}
    for prompt, reward, by_group in zip(asked, scores.rewards, scores.groups, strict=True):
        if prompt.user_id:
            said[prompt.user_id].append(_chance(by_group.get(people[prompt.user_id], reward)))
    names = sorted({people[user] for user in users})
    values = [float(np.mean(said[user])) for user in users]
    return values, [names.index(people[user]) for user in users]


def _estimates(
    request: Request, version: Version, values: list[float], groups: list[int], suite: str
) -> list[Estimate]:
    names = [one.name for one in fields(Welfare)]
    rng, each, of = np.random.default_rng(0), np.array(values), np.array(groups)
    drawn = []
    for _ in range(_ROUNDS):
        rows = rng.integers(len(each), size=len(each))
        drawn.append(astuple(welfare(each[rows].tolist(), of[rows].tolist())))
    tail = (1 - request.confidence) / 2
    lows, highs = np.quantile(np.array(drawn), [tail, 1 - tail], axis=0)
    return [
        Estimate(
            name=request.label(f"welfare_{name}", version),
            value=value,
            low=min(float(low), value),
            high=max(float(high), value),
            confidence=request.confidence,
            count=len(values),
            users=len(values),
            suite=suite,
            method="bootstrap-by-user",
        )
        for name, value, low, high in zip(
            names, astuple(welfare(values, groups)), lows, highs, strict=True
        )
    ]


def _chance(reward: float) -> float:
    return float(1 / (1 + np.exp(-reward)))
