"""How the better answer of a pair differs from the worse, as evidence of which group of people a user is in.

A rewrite follows what its user said: that it became a list says who likes lists more clearly than that the
user prefers it, which brief people may as well. Fisher's linear discriminants (1936, Annals of Eugenics 7): in
group k a pair's change d = better - worse is normal, with a mean μ_k of its own and a covariance Σ that all
groups share. The evidence of one pair is

    log r_k(d),    r_k = (1 - UNLIKE) N(d; μ_k, Σ) / Σ_j s_j N(d; μ_j, Σ) + UNLIKE

s_j: group j's share of the pairs. μ_k is learnt as if PRIOR pairs like everybody's were the group's, too, and
Σ has RIDGE of its mean variance added. UNLIKE: how many pairs are expected to be unlike their user's others,
so that no single one decides. Where all are rewritten alike, this says nothing. In learning, a user's own
pairs are left out of their own group's mean: otherwise a small group remembers its users (groups.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
PRIOR = 10.0
RIDGE = 0.1
UNLIKE = 0.1
_LEAST = 1e-9


@dataclass(frozen=True)
class Discriminants:
    """log N(d; μ_k, Σ) is d · coefficients_k + offset_k and what all groups have in common. `coefficients`
    (K, m), `offsets` (K,); `shares` (K,) of the pairs."""

    coefficients: Array
    offsets: Array
    shares: Array

    def log_ratios(self, changes: Array) -> Array:
        """(n, K): log r_k of each change (n, m)."""
        return _log_ratios(changes @ self.coefficients.T + self.offsets, self.shares)


def believed(differences: Array, confidences: Array) -> Array:
    """(n, m): of better minus worse, the change that a pair of this confidence stands for."""
    found: Array = differences * (2 * confidences - 1)[:, None]
    return found


def learn(changes: Array, weights: Array, of_row: Ints, k: int) -> Discriminants:
    """Of pairs whose users are of the groups `of_row` (n,), in 0..k-1, or of none (negative)."""
    return _Groups(changes, weights, of_row, k).discriminants()


def by_group(changes: Array, weights: Array, users: Ints, of_user: Ints, k: int) -> Array:
    """(U, K): the evidence of each user's pairs, their own left out of their own group's mean. `users` (n,)."""
    found = np.zeros((len(of_user), k))
    if len(changes):
        groups = _Groups(changes, weights, of_user[users], k)
        np.add.at(found, users, groups.log_ratios_without_own(users))
    return found


class _Groups:
    """Means and covariance of the changes, in which each row counts `weights`."""

    def __init__(self, changes: Array, weights: Array, of_row: Ints, k: int) -> None:
        member = (of_row == np.arange(k)[:, None]) * weights
        self._changes, self._weights, self._of_row = changes, weights, of_row
        self._sums, self._sizes = member @ changes, member.sum(axis=1)
        total = max(float(self._sizes.sum()), _LEAST)
        self._average = self._sums.sum(axis=0) / total
        self._shares = np.maximum(self._sizes / total, _LEAST)
        self._centres = self._means(self._sums, self._sizes)
        spread: Array = np.zeros((changes.shape[1], changes.shape[1]))
        for one, mine in enumerate(member):
            apart = changes - self._centres[one]
            spread += (apart * mine[:, None]).T @ apart / total
        spread += (RIDGE * np.trace(spread) / len(spread) + _LEAST) * np.eye(len(spread))
        self._precision = np.linalg.inv(spread)

    def discriminants(self) -> Discriminants:
        coefficients = self._centres @ self._precision
        offsets = -0.5 * (coefficients * self._centres).sum(axis=1)
        return Discriminants(coefficients, offsets, self._shares)

    def log_ratios_without_own(self, users: Ints) -> Array:
        """(n, K): of each row, without the rows of its user in the mean of its user's group."""
        found, changes = self.discriminants(), self._changes
        logs = changes @ found.coefficients.T + found.offsets
        sizes = np.bincount(users, weights=self._weights)
        sums = np.zeros((len(sizes), changes.shape[1]))
        np.add.at(sums, users, self._weights[:, None] * changes)
        (rows,) = np.nonzero(self._of_row >= 0)
        of_row, own = self._of_row[rows], users[rows]
        means = self._means(self._sums[of_row] - sums[own], self._sizes[of_row] - sizes[own])
        pulls = means @ self._precision
        logs[rows, of_row] = ((changes[rows] - means / 2) * pulls).sum(axis=1)
        return _log_ratios(logs, self._shares)

    def _means(self, sums: Array, sizes: Array) -> Array:
        found: Array = (sums + PRIOR * self._average) / (sizes + PRIOR)[:, None]
        return found


def _log_ratios(logs: Array, shares: Array) -> Array:
    everybody = np.logaddexp.reduce(logs + np.log(shares), axis=1, keepdims=True)
    found: Array = np.logaddexp(np.log1p(-UNLIKE) + logs - everybody, np.log(UNLIKE))
    return found
