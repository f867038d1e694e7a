"""How probable it is that a user is of each group, by what they preferred and how they judged answers.

    P(k | user) ∝ share_k · Π P(w | k) · Π r_k(d_p) · ∫ Π σ(θ_k·d_i + level_i·a) dN(a; 0, s²)

over the user's own rows i (groups.py, patience.py), those that are pairs p (changes.py) and statements w
(asking.py). A user of fold f is judged by rewards, changes and words that are learnt without the users of that
fold: a flexible reward remembers its users, and they would all seem to be of their group. Users whom no reward
has seen are judged by those learnt on everyone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from services.reward.learning import asking, changes
from services.reward.learning.changes import Discriminants
from services.reward.learning.groups import Grouping, fit_reward
from services.reward.learning.patience import Patience, integrated
from services.reward.learning.table import Table, taste_axes, taste_space

Array = NDArray[np.float64]
EVERYBODY = -1
_USUAL = 0.99
_STEEPNESS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)


@dataclass(frozen=True)
class Belonging:
    """`coefficients` (F + 1, K, d) on scaled features, without the users of each fold and, last, without
    nobody; `shares` (K,); and the users' `patience`. `bounds` (d,): what an
    answer has more of than almost any that was learnt from counts as that much. `words` (F + 1, K, W):
    log P(w | k) of the `statements`, and `changes`, for the same folds; none of models made before they were
    evidence."""

    coefficients: Array
    shares: Array
    patience: Patience
    bounds: Array
    statements: tuple[str, ...] = ()
    words: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))
    changes: tuple[Discriminants, ...] = ()

    def probabilities(
        self, better: Array, worse: Array, levels: Array, fold: int, asked_for: Sequence[str] = ()
    ) -> Array:
        """(K,) of one user by their rows (n, d) of scaled features and their statements, of which unknown ones
        say nothing; the average answer is 0. `fold`: the user's, or EVERYBODY."""
        usual = self._bounded(better) - self._bounded(worse)
        margins = usual @ self.coefficients[fold].T
        whole = (
            np.ones(len(levels)),
            levels,
            np.zeros(len(levels), dtype=np.int64),
            1,
            self.patience,
        )
        logs = np.array([integrated(one, *whole).log_likelihood[0] for one in margins.T])
        logs += np.log(np.maximum(self.shares, 1e-9))
        for number, statement in enumerate(self.statements):
            if statement in asked_for:
                logs += self.words[fold, :, number]
        if self.changes:
            logs += self.changes[fold].log_ratios(usual[levels == 0]).sum(axis=0)
        odds = np.exp(logs - logs.max())
        found: Array = odds / odds.sum()
        return found

    def _bounded(self, features: Array) -> Array:
        found: Array = np.clip(features, -self.bounds, self.bounds)
        return found


def belonging(
    table: Table, grouping: Grouping, l2: float, fold_of: Callable[[str], int], folds: int
) -> Belonging:
    data, axes = taste_space(table), taste_axes(table)
    of_row = grouping.of_user[data.users]
    of_name = np.array([fold_of(name) for name in table.names])
    fold = of_name[data.users]

    def rewards(seen: NDArray[np.bool_]) -> Sequence[Array]:
        return [
            axes @ fit_reward(data.where(seen & (of_row == one)), l2, grouping.shifts)
            for one in range(grouping.count)
        ]

    def words(seen: NDArray[np.bool_]) -> Array:
        asked = table.asked[seen]
        counted = asking.counts(asked, grouping.of_user[seen], grouping.count)
        return asking.log_probabilities(counted, asked.sum(axis=0))

    pairs = data.compared
    of_pair = grouping.of_user[pairs.users]

    def changing(seen: NDArray[np.bool_]) -> Discriminants:
        found = changes.learn(
            pairs.changes[seen], pairs.weights[seen], of_pair[seen], grouping.count
        )
        return replace(found, coefficients=found.coefficients @ axes.T)

    fold_of_pair = of_name[pairs.users]
    learnt = [rewards(fold != one) for one in range(folds)] + [rewards(fold >= 0)]
    heard = [words(of_name != one) for one in range(folds)] + [words(of_name >= 0)]
    changed = [changing(fold_of_pair != one) for one in range(folds)] + [
        changing(fold_of_pair >= 0)
    ]
    answers = table.answers(np.ones(len(table.pairs), dtype=bool))
    bounds = np.quantile(np.abs(answers), _USUAL, axis=0)
    found = Belonging(
        np.array(learnt),
        grouping.shares,
        grouping.patience,
        bounds,
        table.statements,
        np.array(heard),
        tuple(changed),
    )
    return replace(found, coefficients=found.coefficients * _steepness(found, table, fold_of))


def _steepness(found: Belonging, table: Table, fold_of: Callable[[str], int]) -> float:
    """By how much rewards have to be steeper, or flatter, than L2 left them, so that what users say is
    likeliest by rewards that are learnt without them."""
    rows = table.users >= 0
    folds = np.array([fold_of(name) for name in table.names])
    users, confidences, levels = table.users[rows], table.confidences[rows], table.levels[rows]
    margins = np.einsum("nd,nkd->nk", table.differences[rows], found.coefficients[folds[users]])
    words = np.einsum("uw,ukw->uk", table.asked, found.words[folds])
    before = words + np.log(np.maximum(found.shares, 1e-9))
    changed = changes.believed(table.differences[rows], confidences)
    for fold, learnt in enumerate(found.changes[:EVERYBODY]):
        pairs = (levels == 0) & (folds[users] == fold)
        np.add.at(before, users[pairs], learnt.log_ratios(changed[pairs]))

    def likelihood(times: float) -> float:
        logs = [
            integrated(
                times * one, confidences, levels, users, len(table.names), found.patience
            ).log_likelihood
            for one in margins.T
        ]
        return float(np.logaddexp.reduce(np.stack(logs, axis=1) + before, axis=1).sum())

    return max(_STEEPNESS, key=likelihood)
