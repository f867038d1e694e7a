"""Fits reward models offline: one for everybody, one for each group of people, and how sure it is.

Every figure is of pairs whose topic the model had not seen (5 folds of topics; the L2 is chosen
inside each fold's own training part). What is saved is fitted on all pairs with the L2 chosen on all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.reward.learning import calibration, groups, traits, trust
from services.reward.learning.groups import Comparisons, Grouping, fit_reward
from services.reward.learning.lines import Preference
from services.reward.learning.patience import Patience, log_likelihoods
from services.reward.learning.table import (
    NOBODY,
    Extractor,
    Learner,
    Scaling,
    Table,
    Tell,
    build,
    taste_space,
    topic_folds,
)
from services.reward.learning.trust import Trust
from shared.language.errors import FailedPrecondition

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
FOLDS, INNER_FOLDS = 5, 3
STRENGTHS = (0.001, 0.003, 0.01, 0.03)
TASTE_L2 = 0.01
MOST_GROUPS = 4
LEAST_PAIRS = 10
EVERYONE = "everyone"
MOST_TIMES = 3.0


@dataclass(frozen=True, slots=True)
class Options:
    """`groups`: how many, 0 to find out. `most_per_user`: the newest pairs of a user that count.
    `without_length`: what the reward says of length is taken out of it."""

    groups: int = 0
    members: int = 8
    most_per_user: int = 50
    without_length: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Reward:
    """reward = x @ coefficients + intercept: mean 0, standard deviation 1 over training answers."""

    coefficients: Array
    intercept: float

    def __call__(self, features: Array) -> Array:
        found: Array = features @ self.coefficients + self.intercept
        return found


@dataclass(frozen=True)
class GroupReward:
    """`users` how many are in it; `prefers` what its chosen answers have more of, with z."""

    name: str
    reward: Reward
    users: int
    pairs: int
    prefers: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Model:
    """What is served. P(a is better than b) = σ((reward(a) - reward(b)) / temperature)."""

    extractors: tuple[str, ...]
    scaling: Scaling
    reward: Reward
    members: tuple[Reward, ...]
    temperature: float
    groups: tuple[GroupReward, ...]

    def score(self, raw: Array) -> tuple[Array, Array, dict[str, Array]]:
        """Rewards (n,), their standard deviation over the members (n,), and each group's (n,)."""
        features = self.scaling(raw)
        spread = np.std([member(features) for member in self.members], axis=0)
        return self.reward(features), spread, {g.name: g.reward(features) for g in self.groups}


@dataclass(frozen=True)
class Fitted:
    """The model and what its report is made of. `margins` (n,) are of held-out topics, of the one
    model; `group_margins` (n,) of the group that each pair's user was put into without that fold."""

    model: Model
    table: Table
    l2: float
    margins: Array
    group_margins: Array
    temperatures: Array
    grouping: Grouping
    held_out_by_groups: list[float]
    trust: Trust | None
    dropped: dict[str, int] = field(default_factory=dict)


def fit(
    pairs: Sequence[Preference],
    extractors: Sequence[Extractor],
    options: Options,
    tell: Tell,
    asked_for: Mapping[str, Sequence[str]] = {},
) -> Fitted:
    """`asked_for`: each user's statements (asking.py). Raises FailedPrecondition TOO_FEW_PAIRS under
    LEAST_PAIRS or two topics."""
    kept, dropped = newest(pairs, options.most_per_user)
    if len(kept) < LEAST_PAIRS or len({one.topic for one in kept}) < FOLDS:
        raise FailedPrecondition(
            f"{len(kept)} pairs on {len({one.topic for one in kept})} prompts are not enough: give"
            f" {LEAST_PAIRS} pairs on {FOLDS} prompts or more",
            reason="TOO_FEW_PAIRS",
        )
    _teach(extractors, kept, options, tell)
    table = build(extractors, kept, tell, asked_for)
    grouping, by_groups, believed = find_groups(table, options, tell)
    weights = pair_weights(table, believed)
    folds = topic_folds(kept, FOLDS, options.seed)
    tell("judging held-out prompts")
    margins, group_margins = cross_fit(table, weights, folds, grouping.count, options)
    temperatures = cross_fit_temperatures(margins, table.confidences, folds)
    l2 = choose_l2(table, np.ones(len(kept), dtype=bool), weights, options)
    tell("fitting on all pairs")
    model = Model(
        extractors=tuple(one.name for one in extractors),
        scaling=table.scaling,
        reward=learn(table, np.ones(len(kept), dtype=bool), weights, l2, options),
        members=bootstrap(table, weights, l2, options),
        temperature=calibration.fit_temperature(margins, table.confidences),
        groups=group_rewards(table, grouping, weights, l2, options),
    )
    return Fitted(
        model, table, l2, margins, group_margins, temperatures, grouping, by_groups, believed,
        dropped,
    )  # fmt: skip


def _teach(
    extractors: Sequence[Extractor], pairs: Sequence[Preference], options: Options, tell: Tell
) -> None:
    """Blocks that learn are taught before their features are used, and not by users whom the surface
    of their choices alone gives away."""
    learners = [one for one in extractors if isinstance(one, Learner)]
    if not learners:
        return
    seen = build(extractors[-1:], pairs, tell)
    _, _, believed = find_groups(seen, options, tell)
    weights = pair_weights(seen, believed)
    for one in learners:
        one.learn(pairs, weights, tell)


def newest(pairs: Sequence[Preference], most: int) -> tuple[list[Preference], dict[str, int]]:
    """Keeps at most this many pairs of one user, the last ones; pairs without a user all stay."""
    left: dict[str, int] = {}
    kept: list[Preference] = []
    for one in reversed(pairs):
        left[one.user] = left.get(one.user, 0) + 1
        if not one.user or left[one.user] <= most:
            kept.append(one)
    dropped = len(pairs) - len(kept)
    return kept[::-1], {"USER_CAP": dropped} if dropped else {}


def find_groups(
    table: Table, options: Options, tell: Tell
) -> tuple[Grouping, list[float], Trust | None]:
    """Groups of users, how much each number of groups orders rightly, and whom to trust. One group, and
    nobody to distrust, where no users are named."""
    if len(table.names) < 2 * groups.LEAST_USERS:
        nobody = np.zeros(len(table.names))
        whole = Grouping(nobody.astype(np.int64), np.zeros((1, 1)), 0.0, Patience(), nobody)
        return whole, [], None
    data = taste_space(table)
    tell(f"looking for groups among {len(table.names)} users")
    count, by_groups = options.groups, list[float]()
    if not count:
        count, by_groups = groups.choose(data, MOST_GROUPS, TASTE_L2, options.seed)
    grouping = groups.group(data, count, TASTE_L2, options.seed)
    return grouping, by_groups, trust.estimate(data, grouping, TASTE_L2, options.seed)


def pair_weights(table: Table, believed: Trust | None) -> Array:
    """(n,): the trust in each pair's user, and less where one user says more than MOST_TIMES what
    the median user does."""
    even = groups.even_weights(table.users, MOST_TIMES)
    if believed is None:
        return even
    weights: Array = even * np.append(believed.weights, 1.0)[table.users]
    return weights


def learn(
    table: Table, rows: NDArray[np.bool_], weights: Array, l2: float, options: Options
) -> Reward:
    """A reward of those rows, standardised over their answers."""
    theta = fit_reward(_data(table, rows, weights), l2)
    answers = table.answers(rows)
    if options.without_length:
        theta = theta - length_part(theta, answers, table.surface_at)
    rewards = answers @ theta
    spread = max(float(rewards.std()), 1e-9)
    return Reward(theta / spread, -float(rewards.mean()) / spread)


def length_part(theta: Array, answers: Array, surface_at: int) -> Array:
    """The least-squares part of x·θ in the length features (soft steps and log words), as
    coefficients: without it the reward of these answers is uncorrelated with them."""
    from services.reward.learning.features import LENGTH_STEPS, SURFACE

    columns = [*range(surface_at, surface_at + len(LENGTH_STEPS)), surface_at + SURFACE]
    lengths = answers[:, columns] - answers[:, columns].mean(axis=0)
    rewards = answers @ theta
    part = np.zeros_like(theta)
    part[columns] = np.linalg.lstsq(lengths, rewards - rewards.mean(), rcond=None)[0]
    return part


def choose_l2(table: Table, rows: NDArray[np.bool_], weights: Array, options: Options) -> float:
    """Of STRENGTHS, the one with the least log loss on held-out topics of those rows."""
    folds = topic_folds(table.pairs, INNER_FOLDS, options.seed + 1)
    losses = []
    for l2 in STRENGTHS:
        lost = 0.0
        for one in range(INNER_FOLDS):
            out = rows & (folds == one)
            theta = fit_reward(_data(table, rows & (folds != one), weights), l2)
            margins = table.differences[out] @ theta
            lost -= float(weights[out] @ log_likelihoods(margins, table.confidences[out]))
        losses.append(lost)
    return STRENGTHS[int(np.argmin(losses))]


def cross_fit(
    table: Table, weights: Array, folds: Ints, count: int, options: Options
) -> tuple[Array, Array]:
    """(n,) margins by the one model, and by the model of the user's group; for each fold both are
    fitted, and users assigned, without it."""
    one_model, by_group = np.zeros(len(folds)), np.zeros(len(folds))
    for one in range(FOLDS):
        out = folds == one
        l2 = choose_l2(table, ~out, weights, options)
        reward = learn(table, ~out, weights, l2, options)
        one_model[out] = by_group[out] = reward(table.better[out]) - reward(table.worse[out])
        if count > 1:
            by_group[out] = _grouped_margins(table, out, weights, l2, count, options, by_group[out])
    return one_model, by_group


def _grouped_margins(
    table: Table,
    out: NDArray[np.bool_],
    weights: Array,
    l2: float,
    count: int,
    options: Options,
    otherwise: Array,
) -> Array:
    """Margins of the rows in `out` by their users' groups, as assigned without those rows; what users ask
    for is known, though they may have said it of one of these."""
    data, known = taste_space(table), table.users != NOBODY
    seen, users = groups.renumbered(data.where(~out[known]))
    grouping = groups.group(seen, count, TASTE_L2, options.seed, starts=3)
    of_user = np.full(len(table.names) + 1, NOBODY)
    of_user[users] = grouping.of_user
    of_row, found = of_user[table.users], otherwise.copy()
    for one in range(grouping.count):
        reward = learn(table, ~out & (of_row == one), weights, l2, options)
        mine = out & (of_row == one)
        found[mine[out]] = reward(table.better[mine]) - reward(table.worse[mine])
    return found


def cross_fit_temperatures(margins: Array, confidences: Array, folds: Ints) -> Array:
    """(n,): for each pair the temperature that the other folds' pairs ask for."""
    found = np.ones(len(margins))
    for one in range(FOLDS):
        out = folds == one
        found[out] = calibration.fit_temperature(margins[~out], confidences[~out])
    return found


def bootstrap(table: Table, weights: Array, l2: float, options: Options) -> tuple[Reward, ...]:
    """Members on users drawn with replacement (pairs of nobody: by topic)."""
    unit = np.where(table.users == NOBODY, table.users.max() + 1 + table.topics, table.users)
    _, unit = np.unique(unit, return_inverse=True)
    rows = np.ones(len(unit), dtype=bool)
    found = []
    for member in range(options.members):
        rng = np.random.default_rng([options.seed, member])
        drawn = np.bincount(
            rng.integers(unit.max() + 1, size=unit.max() + 1), minlength=unit.max() + 1
        )
        found.append(learn(table, rows, weights * drawn[unit], l2, options))
    return tuple(found)


def group_rewards(
    table: Table, grouping: Grouping, weights: Array, l2: float, options: Options
) -> tuple[GroupReward, ...]:
    """Named by what sets each apart; one group is everyone."""
    of_row = np.append(grouping.of_user, NOBODY)[table.users]
    differences = table.trait_differences * (2 * table.confidences - 1)[:, None]
    trusted = weights > 0.5
    if grouping.count == 1:
        everybody = np.ones(len(of_row), dtype=bool)
        prefers = tuple(traits.preferences(differences[trusted]))
        reward = learn(table, everybody, weights, l2, options)
        users = len(table.names)
        return (GroupReward(EVERYONE, reward, users, len(of_row), prefers),)
    found: list[GroupReward] = []
    for one in range(grouping.count):
        mine, others = of_row == one, (of_row != one) & (of_row != NOBODY)
        named = traits.preferences(differences[mine & trusted], differences[others & trusted])
        prefers = tuple(traits.preferences(differences[mine & trusted]))
        name = traits.name(named, [other.name for other in found])
        users = int((grouping.of_user == one).sum())
        reward = learn(table, mine, weights, l2, options)
        found.append(GroupReward(name, reward, users, int(mine.sum()), prefers))
    return tuple(found)


def _data(table: Table, rows: NDArray[np.bool_], weights: Array) -> Comparisons:
    return Comparisons(
        table.differences[rows],
        weights[rows],
        table.confidences[rows],
        table.users[rows],
        table.levels[rows],
    )
