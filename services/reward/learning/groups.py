"""Groups of people with tastes of their own, by hard EM over users.

MaxMin-RLHF (Chakraborty et al. 2024, arXiv 2402.08925, algorithm 2): each user belongs to the group
whose reward explains their preferences best (E), each group's reward is learnt from its users (M),
ten rounds. Departures:

1. The rewards are linear on few features (`Comparisons.differences`), with L2.
2. In the E step a pair is judged by rewards that did not learn from it (two halves, each judged by the
other's reward): otherwise a flexible reward remembers its users and nobody moves.
3. The first start sorts users along the main direction of their own gradients, the others are drawn
   by chance; the best likelihood wins.
4. A group of fewer than _LEAST_SHARE of the users (at least LEAST_USERS) is dissolved: a handful who act
together are not a group of people, and are left for trust.py to look at.
5. The number of groups is the largest that makes clearly likelier what users said whom no reward has seen
   (`choose`). Two groups that order answers alike are one.
6. A judged answer is a comparison with the average of all answers, on either side of pairs, and how readily a
   user is content is their own and not their group's (patience.py).
7. Every user speaks with one voice: rows are weighed so that nobody counts more than the median
   user (`even_weights`).
8. What users ask for in words counts beside what they prefer (asking.py), and one start sorts them by it.
   Whether two groups are one is a matter of their rewards alone.
9. When the groups are found, further rounds also heed how each user's pairs change an answer (changes.py),
   unless a group is lost by that. How many there are and where they start from are told without: how answers
   happened to be rewritten founds no group.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from services.reward.learning import asking, bradley_terry, changes
from services.reward.learning.calibration import sigmoid
from services.reward.learning.patience import (
    Patience,
    integrated,
    learnt,
)

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
LEAST_USERS = 3
_LEAST_SHARE = 0.03
_ROUNDS = 10
_USER_FOLDS = 5
# A hundred times as likely, or one group less is the answer.
_CLEARLY = float(np.log(100))
# A round that moves nobody, and no user's patience by more, is the last.
_STILL = 0.05
# How far from flat the loss may be in a round that is not the last.
_ROUGHLY = 1e-4
# Two rewards that order fewer of the rows differently are of one taste.
_LEAST_APART = 0.25


@dataclass(frozen=True)
class Comparisons:
    """`differences` (n, d) of better minus worse; `weights`, `confidences` (n,); `users` (n,) in
    0..U-1, each of whom has at least one row. `levels` (n,): 0 for two answers compared; of one judged by
    itself, against the average answer, 1 if its user was content and -1 if not (patience.py). `asked` (U, W):
    1 where a user makes a statement (asking.py); no columns if nobody does."""

    differences: Array
    weights: Array
    confidences: Array
    users: Ints
    levels: Array
    asked: Array = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def user_count(self) -> int:
        return int(self.users.max()) + 1 if len(self.users) else 0

    @property
    def compared(self) -> Comparisons:
        """Without the answers that were judged by themselves."""
        return self.where(self.levels == 0)

    @property
    def changes(self) -> Array:
        """(n, d): from the worse answer to the better, as far as the order is believed."""
        return changes.believed(self.differences, self.confidences)

    def where(self, rows: NDArray[np.bool_]) -> Comparisons:
        """Users keep their numbers."""
        return Comparisons(
            self.differences[rows],
            self.weights[rows],
            self.confidences[rows],
            self.users[rows],
            self.levels[rows],
            self.asked,
        )


@dataclass(frozen=True)
class Grouping:
    """`of_user` (U,) in 0..K-1, the largest group first; `rewards` (K, d); the users' `patience`, and that of
    each in their group, `shifts` (U,). `asked` (K, W): how many of its users make each statement."""

    of_user: Ints
    rewards: Array
    log_likelihood: float
    patience: Patience
    shifts: Array
    asked: Array = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def count(self) -> int:
        return len(self.rewards)

    @property
    def shares(self) -> Array:
        """(K,): of the users."""
        found: Array = np.bincount(self.of_user, minlength=self.count) / max(len(self.of_user), 1)
        return found


def fit_reward(
    data: Comparisons,
    l2: float,
    shifts: Array | None = None,
    start: Array | None = None,
    tolerance: float = 1e-6,
) -> Array:
    """Bradley-Terry with soft labels: a row of confidence c counts c as it is and 1 - c reversed. `shifts`
    (U,): each user's patience, if it is known."""
    c, kept = data.confidences, data.confidences < 1
    differences = np.vstack([data.differences, -data.differences[kept]])
    weights = np.concatenate([data.weights * c, (data.weights * (1 - c))[kept]])
    if not weights.sum() > 0:
        return np.zeros(data.differences.shape[1])
    offsets = np.zeros(len(c)) if shifts is None else data.levels * shifts[data.users]
    both = np.concatenate([offsets, -offsets[kept]])
    return bradley_terry.fit(differences, weights, l2, both, start, tolerance=tolerance)


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
) -> Grouping:
    """At most `k` groups: those that are too small are dissolved, those that order alike are one."""
    found = _found(data, k, l2, seed, starts)
    if found.count < 2:
        return found
    told_apart = _em(data, found.of_user, found.count, l2, by_changes=True)
    told_apart = _settled(data, told_apart, l2, by_changes=True)
    return told_apart if told_apart.count == found.count else found


def _found(data: Comparisons, k: int, l2: float, seed: int, starts: int) -> Grouping:
    """By what users prefer and ask for."""
    everybody = np.zeros(data.user_count, dtype=np.int64)
    if k == 1:
        return _settled(data, _em(data, everybody, 1, l2), l2)
    rng = np.random.default_rng([seed, k])
    found = []
    for start in range(starts):
        if start == 0:
            of_user = _sorted_start(data, k, l2)
        elif start == 1:
            of_user = _unlike_start(data, k, l2)
        elif start == 2 and data.asked.any():
            # The first rewards are then learnt from those who asked for something.
            of_user = asking.most_asked(data.asked, k)
        else:
            of_user = rng.integers(k, size=len(everybody))
        found.append(_em(data, of_user, k, l2))
    best = max(found, key=lambda one: one.log_likelihood)
    return _settled(data, best, l2)


def choose(data: Comparisons, most: int, l2: float, seed: int = 0) -> tuple[int, list[float]]:
    """The number of groups, and the mean log-likelihood of a held-out user's row with 1 to one more.

    A held-out user's rows are judged together by the mixture of the groups' rewards. More groups are taken
    only where what held-out users said is a hundred times as likely as with one less. Likelihoods also rise
    with several rewards of one taste and different steepness; these are no groups, as they order answers
    alike (`_one_taste`).
    """
    most = min(most, data.user_count // (2 * LEAST_USERS))
    if most < 2:
        return 1, []
    rows = np.maximum(np.bincount(data.users, minlength=data.user_count), 1)
    values = [_held_out(data, 1, l2, seed)]
    for k in range(2, most + 1):
        values.append(_held_out(data, k, l2, seed))
        if (values[-1] - values[-2]).sum() <= _CLEARLY:
            return k - 1, [float((value / rows).mean()) for value in values]
    return most, [float((value / rows).mean()) for value in values]


def _held_out(data: Comparisons, k: int, l2: float, seed: int) -> Array:
    """(U,): the log-likelihood of each user's rows by rewards that never saw the user."""
    count = data.user_count
    fold = np.random.default_rng([seed, 17]).permutation(count) % _USER_FOLDS
    total = np.zeros(count)
    for one in range(_USER_FOLDS):
        out = fold[data.users] == one
        seen, _ = renumbered(data.where(~out))
        found = _found(seen, k, l2, seed, starts=3)
        test = data.where(out)
        logs = by_group(found.rewards, found.patience, test)[0] + np.log(found.shares)
        mine = np.unique(test.users)
        if data.asked.size:
            words = asking.log_probabilities(found.asked, found.asked.sum(axis=0))
            logs += data.asked[: len(logs)] @ words.T
        total[mine] = np.logaddexp.reduce(logs, axis=1)[mine]
    return total


def by_group(rewards: Array, patience: Patience, data: Comparisons) -> tuple[Array, Array, Array]:
    """(U, K) each: the log-likelihood of a user's rows in each group, and the mean and variance of their
    patience there."""
    return _by_margins(data.differences @ rewards.T, patience, data)


def _by_margins(
    margins: Array, patience: Patience, data: Comparisons
) -> tuple[Array, Array, Array]:
    found = [
        integrated(column, data.confidences, data.levels, data.users, data.user_count, patience)
        for column in margins.T
    ]
    return (
        np.stack([one.log_likelihood for one in found], axis=1),
        np.stack([one.mean for one in found], axis=1),
        np.stack([one.variance for one in found], axis=1),
    )


def _em(
    data: Comparisons,
    of_user: Ints,
    k: int,
    l2: float,
    rounds: int = _ROUNDS,
    *,
    by_changes: bool = False,
) -> Grouping:
    """The users' groups after at most `rounds`, with the likelihood of the last E step; without rewards."""
    half, everyone = _halves(data), np.arange(data.user_count)
    shifts, patience, likelihood = np.zeros(data.user_count), Patience(), -np.inf
    judging = np.unique(data.users[data.levels != 0])
    rewards = np.zeros((2, k, data.differences.shape[1]))
    for _ in range(rounds):
        margins = np.zeros((len(data.users), k))
        for side in (0, 1):
            others, judged = data.where(half != side), half == side
            for one in range(k):
                mine = others.where(of_user[others.users] == one)
                rewards[side, one] = fit_reward(mine, l2, shifts, rewards[side, one], _ROUGHLY)
                margins[judged, one] = data.differences[judged] @ rewards[side, one]
        values, mean, variance = _by_margins(margins, patience, data)
        values += _said(data, of_user, k, by_changes)
        moved = values.argmax(axis=1)
        is_done = (moved == of_user).all()
        of_user, likelihood = moved, float(values.max(axis=1).sum())
        former, shifts = shifts, mean[everyone, moved]
        patience = learnt(shifts[judging], variance[everyone, moved][judging])
        if is_done and np.abs(shifts - former).max() < _STILL:
            break
    return Grouping(of_user, np.zeros((k, 0)), likelihood, patience, shifts)


def _said(data: Comparisons, of_user: Ints, k: int, by_changes: bool) -> Array:
    """(U, K): what users say beside the order of answers."""
    found = asking.by_group(data.asked, of_user, k)
    if by_changes:
        pairs = data.compared
        found += changes.by_group(pairs.changes, pairs.weights, pairs.users, of_user, k)
    return found


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


def _unlike_start(data: Comparisons, k: int, l2: float) -> Ints:
    """As above in k - 1 parts, and by themselves the tenth whom one reward for all explains worst."""
    of_user = _sorted_start(data, k - 1, l2)
    whole = _em(data, np.zeros_like(of_user), 1, l2, 3)
    reward = fit_reward(data, l2, whole.shifts)
    values, _, _ = by_group(reward[None], whole.patience, data)
    rows = np.maximum(np.bincount(data.users, minlength=data.user_count), 1)
    worst = np.argsort(values[:, 0] / rows, kind="stable")[: max(1, data.user_count // 10)]
    of_user[worst] = k - 1
    return of_user


def _settled(
    data: Comparisons, found: Grouping, l2: float, *, by_changes: bool = False
) -> Grouping:
    """Small groups dissolved, those of one taste joined, the largest first, one reward each on all rows."""
    least = max(LEAST_USERS, _LEAST_SHARE * data.user_count)
    of_user, everyone = found.of_user, np.arange(data.user_count)
    while True:
        sizes = np.bincount(of_user)
        kept = [int(one) for one in np.argsort(-sizes, kind="stable") if sizes[one] >= least]
        kept = kept or [int(sizes.argmax())]
        rewards = np.array(
            [fit_reward(data.where(of_user[data.users] == one), l2, found.shifts) for one in kept]
        )
        values, mean, _ = by_group(rewards, found.patience, data)
        place = {one: at for at, one in enumerate(kept)}
        stays = np.array([place.get(int(one), asking.NOWHERE) for one in of_user])
        values += _said(data, stays, len(kept), by_changes)
        moved = np.where(stays >= 0, stays, values.argmax(axis=1))
        if len(kept) == len(np.unique(of_user)):
            alike = _one_taste(data, rewards)
            if alike is None:
                likelihood = float(values.max(axis=1).sum())
                return Grouping(
                    moved, rewards, likelihood, found.patience, mean[everyone, moved],
                    asking.counts(data.asked, moved, len(kept)),
                )  # fmt: skip
            moved = np.where(moved == alike[1], alike[0], moved)
        of_user = moved


def _one_taste(data: Comparisons, rewards: Array) -> tuple[int, int] | None:
    """Two groups that order the rows alike, the larger first; of several the most alike."""
    signs = np.sign(data.differences @ rewards.T)
    weights = data.weights / data.weights.sum()
    found = [
        (float(weights @ (signs[:, one] != signs[:, other])), one, other)
        for other in range(len(rewards))
        for one in range(other)
    ]
    apart, one, other = min(found, default=(1.0, 0, 0))
    return (one, other) if apart < _LEAST_APART else None


def renumbered(data: Comparisons) -> tuple[Comparisons, Ints]:
    """Users without a row lose their number."""
    numbers, users = np.unique(data.users, return_inverse=True)
    asked = data.asked[numbers] if data.asked.size else data.asked
    return replace(data, users=users.astype(np.int64), asked=asked), numbers
