"""Groups of people with tastes of their own, by hard EM over users.

MaxMin-RLHF (Chakraborty et al. 2024, arXiv 2402.08925, algorithm 2): each user belongs to the group
whose reward explains their preferences best (E), each group's reward is learnt from its users (M),
ten rounds. Departures:

1. The rewards are linear on few features (`Comparisons.differences`), with L2.
2. In the E step a pair is judged by rewards that did not learn from it (two halves, each judged by the
other's reward): otherwise a flexible reward remembers its users and nobody moves.
3. The first start sorts users along the main direction of their own gradients, the others are drawn
   by chance; the best likelihood wins.
4. A group of fewer than `least_share` of the users (at least LEAST_USERS) is dissolved: a handful who act
together are not a group of people, and are left for trust.py to look at.
5. The number of groups is the largest that orders the pairs of users that no reward has seen
   clearly better (`choose`).
6. Every user speaks with one voice: rows are weighed so that nobody counts more than the median
   user (`even_weights`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.reward.learning import bradley_terry
from services.reward.learning.calibration import sigmoid

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
LEAST_USERS = 3
_USER_FOLDS = 5
# So many standard errors better on held-out users, or one group less is the answer.
_CLEARLY = 2.5


@dataclass(frozen=True)
class Comparisons:
    """`differences` (n, d) of better minus worse; `weights`, `confidences` (n,); `users` (n,) in
    0..U-1, each of whom has at least one row."""

    differences: Array
    weights: Array
    confidences: Array
    users: Ints

    @property
    def user_count(self) -> int:
        return int(self.users.max()) + 1 if len(self.users) else 0

    def where(self, rows: NDArray[np.bool_]) -> Comparisons:
        """Users keep their numbers."""
        return Comparisons(
            self.differences[rows], self.weights[rows], self.confidences[rows], self.users[rows]
        )


@dataclass(frozen=True)
class Grouping:
    """`of_user` (U,) in 0..K-1, the largest group first; `rewards` (K, d)."""

    of_user: Ints
    rewards: Array
    log_likelihood: float

    @property
    def count(self) -> int:
        return len(self.rewards)


def fit_reward(data: Comparisons, l2: float) -> Array:
    """Bradley-Terry with soft labels: a row of confidence c counts c as it is and 1 - c reversed."""
    c, kept = data.confidences, data.confidences < 1
    differences = np.vstack([data.differences, -data.differences[kept]])
    weights = np.concatenate([data.weights * c, (data.weights * (1 - c))[kept]])
    if not weights.sum() > 0:
        return np.zeros(data.differences.shape[1])
    return bradley_terry.fit(differences, weights, l2)


def log_likelihoods(margins: Array, confidences: Array) -> Array:
    """Of each row's label, under σ(margin)."""
    won, lost = -np.logaddexp(0.0, -margins), -np.logaddexp(0.0, margins)
    found: Array = confidences * won + (1 - confidences) * lost
    return found


def rightness(margins: Array, confidences: Array) -> Array:
    """(n,): how right each order is, in [0, 1], by soft labels; ties are half right."""
    right: Array = np.where(margins > 0, confidences, np.where(margins < 0, 1 - confidences, 0.5))
    return right


def even_weights(users: Ints, most: float = 1.0) -> Array:
    """(n,): rows of a user with more than `most` times the median user's rows count less, so that
    all of them together weigh that much. Rows of nobody (negative) count whole."""
    known = users[users >= 0]
    if not len(known):
        return np.ones(len(users))
    sizes = np.bincount(known)
    allowed = most * float(np.median(sizes[sizes > 0]))
    of_user = np.minimum(1.0, allowed / np.maximum(sizes, 1))
    weights: Array = np.where(users >= 0, of_user[np.maximum(users, 0)], 1.0)
    return weights


def by_user(values: Array, users: Ints, count: int) -> Array:
    """(count,) sums."""
    sums: Array = np.bincount(users, weights=values, minlength=count).astype(np.float64)
    return sums


def group(
    data: Comparisons,
    k: int,
    l2: float,
    seed: int = 0,
    starts: int = 6,
    rounds: int = 10,
    least_share: float = 0.05,
) -> Grouping:
    """At most `k` groups: those that are too small are dissolved."""
    everybody = np.zeros(data.user_count, dtype=np.int64)
    if k == 1:
        return _finished(data, everybody, l2, least_share)
    rng = np.random.default_rng([seed, k])
    found = []
    for start in range(starts):
        of_user = _sorted_start(data, k, l2) if start == 0 else rng.integers(k, size=len(everybody))
        found.append(_em(data, of_user, k, l2, rounds))
    best = max(found, key=lambda one: one[1])[0]
    return _finished(data, best, l2, least_share)


def choose(data: Comparisons, most: int, l2: float, seed: int = 0) -> tuple[int, list[float]]:
    """The number of groups, and the share of held-out users' pairs ordered rightly with 1..most.

    A held-out user's pair is judged by the mixture of the groups' rewards, weighed by what the
    user's other pairs say. More groups are taken only where users gain clearly (2.5 standard
    errors over users, who count alike) over the number taken so far. Orders are compared and not
    likelihoods: several rewards of one taste and different steepness raise these, and are not groups.
    """
    most = min(most, data.user_count // (2 * LEAST_USERS))
    if most < 2:
        return 1, []
    pairs = np.maximum(np.bincount(data.users, minlength=data.user_count), 1)
    values = [_held_out(data, k, l2, seed) / pairs for k in range(1, most + 1)]
    taken = 0
    for k in range(1, most):
        gain = values[k] - values[taken]
        if gain.mean() > _CLEARLY * gain.std(ddof=1) / len(gain) ** 0.5:
            taken = k
    return taken + 1, [float(value.mean()) for value in values]


def _held_out(data: Comparisons, k: int, l2: float, seed: int) -> Array:
    """(U,): how many of each user's pairs are ordered rightly by rewards that never saw the user."""
    count = data.user_count
    fold = np.random.default_rng([seed, 17]).permutation(count) % _USER_FOLDS
    total = np.zeros(count)
    for one in range(_USER_FOLDS):
        out = fold[data.users] == one
        seen, numbers = _renumbered(data.where(~out))
        grouping = group(seen, k, l2, seed, starts=3)
        shares = np.bincount(grouping.of_user, minlength=grouping.count) / len(numbers)
        test = data.where(out)
        total += by_user(_ordered(grouping.rewards, shares, test), test.users, count)
    return total


def _ordered(rewards: Array, shares: Array, data: Comparisons) -> Array:
    """(n,): how rightly the groups' mixture, by the user's other rows, orders each row."""
    each = np.stack(
        [log_likelihoods(data.differences @ r, data.confidences) for r in rewards], axis=1
    )
    whole = _by_group(rewards, data)[data.users]
    logs = np.log(np.maximum(shares, 1e-9)) + whole - each
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    p = (odds / odds.sum(axis=1, keepdims=True) * sigmoid(data.differences @ rewards.T)).sum(axis=1)
    return rightness(p - 0.5, data.confidences)


def _by_group(rewards: Array, data: Comparisons) -> Array:
    """(U, K) summed log-likelihoods."""
    columns = [
        by_user(
            log_likelihoods(data.differences @ reward, data.confidences),
            data.users,
            data.user_count,
        )
        for reward in rewards
    ]
    return np.stack(columns, axis=1)


def _em(data: Comparisons, of_user: Ints, k: int, l2: float, rounds: int) -> tuple[Ints, float]:
    """The users' groups after at most `rounds`, and the likelihood of the last E step."""
    half = _halves(data)
    best = -np.inf
    for _ in range(rounds):
        likelihood = np.zeros((data.user_count, k))
        for side in (0, 1):
            learnt, judged = data.where(half != side), data.where(half == side)
            for one in range(k):
                mine = learnt.where(of_user[learnt.users] == one)
                if len(mine.users):
                    margins = judged.differences @ fit_reward(mine, l2)
                    values = log_likelihoods(margins, judged.confidences)
                    likelihood[:, one] += by_user(values, judged.users, data.user_count)
                else:
                    likelihood[:, one] += by_user(
                        np.full(len(judged.users), np.log(0.5)), judged.users, data.user_count
                    )
        best = float(likelihood.max(axis=1).sum())
        moved = likelihood.argmax(axis=1)
        if (moved == of_user).all():
            break
        of_user = moved
    return of_user, best


def _halves(data: Comparisons) -> Ints:
    """(n,): every second row of each user."""
    half = np.zeros(len(data.users), dtype=np.int64)
    seen = np.zeros(data.user_count, dtype=np.int64)
    for row, user in enumerate(data.users):
        # Users with one row stand on either side, in turn.
        half[row] = (seen[user] + user) % 2
        seen[user] += 1
    return half


def _sorted_start(data: Comparisons, k: int, l2: float) -> Ints:
    """Users in equal parts along the main direction in which their gradients differ."""
    missed = 1 - sigmoid(data.differences @ fit_reward(data, l2))
    pulls = np.stack(
        [by_user(column, data.users, data.user_count) for column in (data.differences.T * missed)],
        axis=1,
    )
    pulls /= np.maximum(np.linalg.norm(pulls, axis=1, keepdims=True), 1e-9)
    main = np.linalg.svd(pulls - pulls.mean(axis=0), full_matrices=False)[2][0]
    ranks = np.argsort(np.argsort(pulls @ main, kind="stable"), kind="stable")
    part: Ints = ranks * k // len(ranks)
    return part


def _finished(data: Comparisons, of_user: Ints, l2: float, least_share: float) -> Grouping:
    """Small groups dissolved, the largest first, one reward each on all rows."""
    least = max(LEAST_USERS, least_share * data.user_count)
    while True:
        sizes = np.bincount(of_user)
        kept = [int(one) for one in np.argsort(-sizes, kind="stable") if sizes[one] >= least]
        kept = kept or [int(sizes.argmax())]
        rewards = np.array([fit_reward(data.where(of_user[data.users] == one), l2) for one in kept])
        values = _by_group(rewards, data)
        place = {one: at for at, one in enumerate(kept)}
        stays = np.array([place.get(int(one), -1) for one in of_user])
        moved = np.where(stays >= 0, stays, values.argmax(axis=1))
        if len(kept) == len(np.unique(of_user)):
            return Grouping(moved, rewards, float(values.max(axis=1).sum()))
        of_user = moved


def _renumbered(data: Comparisons) -> tuple[Comparisons, Sequence[int]]:
    """Users without a row lose their number."""
    numbers, users = np.unique(data.users, return_inverse=True)
    return (
        Comparisons(data.differences, data.weights, data.confidences, users.astype(np.int64)),
        [int(one) for one in numbers],
    )
