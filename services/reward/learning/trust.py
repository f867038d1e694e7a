"""How far each user's labels may be believed, and who acts together against everyone else.

The one-coin model of Dawid and Skene (1979), with a classifier in the place of repeated labels
(Raykar et al. 2010, "Learning from crowds", JMLR 11): user u labels a pair rightly with probability
p_u, where "rightly" is what the reward of u's own group says, learnt without u. Estimator:

    p_u = (a_u + s·p) / (n_u + s)

with a_u of n_u labels that agree, p the rate of all users, s = PRIOR labels. A user whose rate lies
clearly below everybody's (Wilson's upper bound at 0.99 under p) weighs max(0, (2 p_u - 1) / (2 p - 1)), at
most 1; everyone else weighs 1, so that taste and little data are no offence. A user whose upper
bound is under one half contradicts everyone ("suspect"); suspects whose labels foretell each
other's act in a coordinated way. Departures: one pass instead of EM to convergence (the rewards are
fitted again with the weights by the caller), and a hard bound before anybody loses weight. What it
cannot see: users who push something that the others are indifferent to; caps bound these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.reward.learning.groups import Comparisons, Grouping, by_user, fit_reward, rightness
from shared.statistics.intervals import rate, wilson

Array = NDArray[np.float64]
PRIOR = 4.0
_FOLDS = 5
_ROUNDS = 2
_LEAST_LABELS = 5
_SURE = 0.99


@dataclass(frozen=True)
class Trust:
    """By user: labels, how many agree with the reward of their group, weight in [0, 1]; who
    contradicts everyone, and whether these act together."""

    labels: Array
    agreeing: Array
    weights: Array
    suspects: tuple[int, ...]
    coordinated: bool


def agreement(data: Comparisons, grouping: Grouping, weights: Array, l2: float, seed: int) -> Array:
    """(n,): 1 where the reward of the user's group, learnt without the user, orders the pair as
    they do, 0 where not, one half for a tie; soft labels count by their confidence."""
    fold = np.random.default_rng([seed, 29]).permutation(data.user_count) % _FOLDS
    right = np.full(len(data.users), 0.5)
    of_row = grouping.of_user[data.users]
    for one in range(_FOLDS):
        for group in range(grouping.count):
            judged = (fold[data.users] == one) & (of_row == group)
            learnt = data.where((fold[data.users] != one) & (of_row == group))
            if not judged.any() or not len(learnt.users):
                continue
            trusted = Comparisons(
                learnt.differences,
                learnt.weights * weights[learnt.users],
                learnt.confidences,
                learnt.users,
                learnt.levels,
            )
            margins = data.differences[judged] @ fit_reward(trusted, l2)
            right[judged] = rightness(margins, data.confidences[judged])
    return right


def estimate(data: Comparisons, grouping: Grouping, l2: float, seed: int = 0) -> Trust:
    weights = np.ones(data.user_count)
    labels = by_user(np.ones(len(data.users)), data.users, data.user_count)
    agreeing = labels / 2
    for _ in range(_ROUNDS):
        right = agreement(data, grouping, weights, l2, seed)
        agreeing = by_user(right, data.users, data.user_count)
        weights = weigh(agreeing, labels, weights)
    suspects = tuple(
        user
        for user in range(data.user_count)
        if labels[user] >= _LEAST_LABELS and wilson(agreeing[user], labels[user], _SURE)[1] < 0.5
    )
    return Trust(labels, agreeing, weights, suspects, _acts_together(data, suspects, l2))


def weigh(agreeing: Array, labels: Array, before: Array) -> Array:
    """The estimator above; the rate of all is that of the users trusted so far."""
    trusted = before * labels
    overall = float((before * agreeing).sum() / max(trusted.sum(), 1e-9))
    if overall <= 0.5:
        return np.ones(len(labels))
    p = (agreeing + PRIOR * overall) / (labels + PRIOR)
    upper = np.array([wilson(a, n, _SURE)[1] for a, n in zip(agreeing, labels, strict=True)])
    weight = np.clip((2 * p - 1) / (2 * overall - 1), 0.0, 1.0)
    found: Array = np.where(upper < overall, weight, 1.0)
    return found


def _acts_together(data: Comparisons, suspects: tuple[int, ...], l2: float) -> bool:
    """Whether the labels of suspects are predicted by the other suspects' labels, better than by
    chance (the lower bound of the rate, widened by suspect, over one half)."""
    right: list[float] = []
    whose: list[int] = []
    for suspect in suspects if len(suspects) > 1 else ():
        others = [user for user in suspects if user != suspect]
        reward = fit_reward(data.where(np.isin(data.users, others)), l2)
        mine = data.where(data.users == suspect)
        margins = mine.differences @ reward
        right += np.where(margins > 0, mine.confidences, 1 - mine.confidences).tolist()
        whose += [suspect] * len(margins)
    return rate(right, whose).low > 0.5
