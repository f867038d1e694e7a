"""What users ask for in words, as evidence of which group of people they are in.

Of group k a user's statements w (`wants.form=list`; each distinct one once) have the log-likelihood

    Σ_w log P(w | k),    P(w | k) = (n_kw + PRIOR · π_w) / (n_k + PRIOR)

n_kw: how many of the group's users said w; n_k: how many statements they made in all; π_w: the share of w
among everybody's statements, each counted once more so that none is impossible. In learning, a user's own
statements are left out of their own group's counts: otherwise a small group remembers its users by their words,
as a flexible reward would by their rows (groups.py). Silence says nothing: the content do not complain, and
most of those who complain do not say what they want.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.language.groups import is_wish

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
# How many statements of everybody's a group begins with.
PRIOR = 5.0
# Users who are in no group, and whose words count for none.
NOWHERE = -1


def statements(groups: Iterable[str]) -> tuple[str, ...]:
    """Those of a user's groups that are the user's own wishes."""
    return tuple(sorted(set(filter(is_wish, groups))))


def table_of(
    asked_for: Mapping[str, Sequence[str]], users: Sequence[str]
) -> tuple[tuple[str, ...], Array]:
    """The statements' names, and (U, W): 1 where the user makes the statement."""
    said = [set(asked_for.get(user, ())) for user in users]
    names = tuple(sorted(set().union(*said)))
    rows = [[float(name in mine) for name in names] for mine in said]
    return names, np.array(rows).reshape(len(users), len(names))


def counts(asked: Array, of_user: Ints, k: int) -> Array:
    """(K, W): how many users of each group make each statement."""
    members = (of_user == np.arange(k)[:, None]).astype(np.float64)
    found: Array = members @ asked if asked.size else np.zeros((k, asked.shape[1]))
    return found


def log_probabilities(counted: Array, everybodys: Array) -> Array:
    """(..., K, W) of log P(w | k); `everybodys` (W,): how many users make each statement."""
    share = (everybodys + 1) / (everybodys + 1).sum()
    found: Array = np.log((counted + PRIOR * share) / (counted.sum(axis=-1, keepdims=True) + PRIOR))
    return found


def by_group(asked: Array, of_user: Ints, k: int) -> Array:
    """(U, K): the log-likelihood of each user's statements in each group, their own left out of it."""
    if not asked.size:
        return np.zeros((len(of_user), k))
    own = (of_user[:, None] == np.arange(k))[:, :, None] * asked[:, None, :]
    logs = log_probabilities(counts(asked, of_user, k) - own, asked.sum(axis=0))
    found: Array = np.einsum("uw,ukw->uk", asked, logs)
    return found


def most_asked(asked: Array, k: int) -> Ints:
    """(U,): the users of the k most frequent statements; those who made several by the rarest of them, those
    who made none NOWHERE."""
    of_user = np.full(len(asked), NOWHERE, dtype=np.int64)
    for place, statement in enumerate(np.argsort(-asked.sum(axis=0), kind="stable")[:k]):
        of_user[asked[:, statement] > 0] = place
    return of_user
