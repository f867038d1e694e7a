"""A reward learnt from ratings instead of pairs: the ordinal head of coral.py.

Figures are of prompts that the judging head had not seen (5 folds of topics). `order` is how often
two answers with different ratings are put in that order; ties count half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.reward.learning import coral
from services.reward.learning.coral import Coral
from services.reward.learning.fitting import (
    EVERYONE,
    FOLDS,
    STRENGTHS,
    GroupReward,
    Model,
    Options,
    Reward,
)
from services.reward.learning.lines import Rated
from services.reward.learning.table import Extractor, Tell, extract, scaling_of, topic_folds
from shared.language.errors import FailedPrecondition
from shared.statistics.intervals import wilson

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
LEAST_RATINGS = 20


def fit_ratings(
    rated: Sequence[Rated], extractors: Sequence[Extractor], options: Options, tell: Tell
) -> tuple[Model, dict[str, Any]]:
    """The model and its report. Raises FailedPrecondition TOO_FEW_RATINGS."""
    levels = sorted({one.rating for one in rated})
    topics = len({one.topic for one in rated})
    if len(rated) < LEAST_RATINGS or len(levels) < 2 or topics < FOLDS:
        raise FailedPrecondition(
            f"{len(rated)} ratings of {len(levels)} kinds on {topics} prompts are not enough: give"
            f" {LEAST_RATINGS} of 2 kinds on {FOLDS} prompts or more",
            reason="TOO_FEW_RATINGS",
        )
    raw = extract(extractors, [one.answer for one in rated], tell)
    scaling = scaling_of(raw, extractors, rated[0].answer)
    features = scaling(raw)
    ranks = np.searchsorted(levels, [one.rating for one in rated]) + 1
    folds = topic_folds(rated, FOLDS, options.seed)
    tell("judging held-out prompts")
    trials = {l2: _held_out(features, ranks, folds, l2) for l2 in STRENGTHS}
    l2 = max(trials, key=lambda one: order_of(trials[one], ranks))
    head = coral.fit(features, ranks, l2)
    reward = _standardised(head.coefficients, features)
    model = Model(
        extractors=tuple(one.name for one in extractors),
        scaling=scaling,
        reward=reward,
        members=_members(rated, features, ranks, l2, options),
        temperature=1.0,
        groups=(GroupReward(EVERYONE, reward, len({one.user for one in rated}), 0, ()),),
    )
    order, pairs = order_of(trials[l2], ranks), comparable(ranks)
    # Pairs of answers share answers, and answers their users (nobody's: their prompts): the interval is as wide
    # as one of as many pairs as there are of these.
    count = len({one.user or f"\x00{one.topic}" for one in rated})
    low, high = wilson(order * count, count)
    return model, {
        "ratings": len(rated),
        "levels": levels,
        "features": list(model.extractors),
        "l2": l2,
        "held_out": {
            "order": round(order, 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "pairs": pairs,
            "mean_error": round(float(np.abs(trials[l2] - ranks).mean()), 4),
        },
    }


def order_of(scores: Array, ranks: Ints) -> float:
    """Share of pairs with different ranks whose scores are in that order; ties count half."""
    above = ranks[:, None] > ranks[None, :]
    difference = scores[:, None] - scores[None, :]
    return float(((difference > 0) + 0.5 * (difference == 0))[above].mean())


def comparable(ranks: Ints) -> int:
    return int((ranks[:, None] > ranks[None, :]).sum())


def _held_out(features: Array, ranks: Ints, folds: Ints, l2: float) -> Array:
    """(n,) scores in 1..K by heads that had not seen the topic."""
    found = np.zeros(len(ranks))
    for one in range(FOLDS):
        out = folds == one
        found[out] = _fit(features[~out], ranks[~out], l2).scores(features[out])
    return found


def _fit(features: Array, ranks: Ints, l2: float) -> Coral:
    if len(np.unique(ranks)) < 2:
        return Coral(np.zeros(features.shape[1]), np.zeros(int(ranks.max()) - 1))
    return coral.fit(features, ranks, l2)


def _members(
    rated: Sequence[Rated], features: Array, ranks: Ints, l2: float, options: Options
) -> tuple[Reward, ...]:
    """On users drawn with replacement (ratings of nobody: by topic)."""
    _, unit = np.unique([one.user or f"\x00{one.topic}" for one in rated], return_inverse=True)
    found = []
    for member in range(options.members):
        rng = np.random.default_rng([options.seed, member])
        count = int(unit.max()) + 1
        times = np.bincount(rng.integers(count, size=count), minlength=count)[unit]
        drawn = np.repeat(np.arange(len(ranks)), times)
        found.append(_standardised(_fit(features[drawn], ranks[drawn], l2).coefficients, features))
    return tuple(found)


def _standardised(theta: Array, features: Array) -> Reward:
    rewards = features @ theta
    spread = max(float(rewards.std()), 1e-9)
    return Reward(theta / spread, -float(rewards.mean()) / spread)
