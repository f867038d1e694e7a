"""Whether a new head may take the place of the one that serves: by held-out users, whom neither was
fitted on.

Three rules, all on intervals of a bootstrap that draws whole users again, the same ones for both heads
(paired; Efron & Tibshirani 1993, ch. 13; users because one user's labels are not independent):
what it saves in log loss lies above zero; its AUROC is not lower by more than a margin; and its AUROC lies
above a least one. The third is there because on labels that are noise, a head that says the base rate of
everything does save log loss, and knows nothing.

Trying again until one passes would let chance in: the k-th attempt on one serving head is held to
1 - error / (k (k + 1)), so that over any number of attempts the errors add up to `error` at most (as far
as the bootstrap keeps its promise, which with ten users is roughly). Pure and seeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.feedback.heads.app.fitting import cross_entropy, sigmoid
from services.feedback.heads.domain import (
    CAN_NOT_TELL,
    NOT_BETTER,
    RANKS_WORSE,
    Figures,
    Interval,
    Numbers,
)
from services.feedback.mining.app.features import Floats
from shared.statistics.classification import calibration_error
from shared.statistics.spending import parts

# Draws beyond each end of an interval, and how many numbers all draws may be.
_TAIL, _LEAST_DRAWS, _MOST_NUMBERS, _AT_ONCE = 20, 2_000, 20_000_000, 2_000


@dataclass(frozen=True, slots=True)
class GateRules:
    error: float = 0.05
    auroc_margin: float = 0.05
    least_auroc: float = 0.5

    def confidence(self, attempt: int) -> float:
        """Of the `attempt`-th (from 1)."""
        return 1.0 - self.error / parts(attempt - 1)


def verdict(figures: Figures, rules: GateRules) -> str:
    """Empty if the new head may serve, otherwise why not."""
    if figures.log_loss_gain.low <= 0.0:
        return NOT_BETTER
    if figures.auroc_after.low <= rules.least_auroc:
        return CAN_NOT_TELL
    return RANKS_WORSE if figures.auroc_gain.low < -rules.auroc_margin else ""


def compare(
    bad: Floats,
    before: Floats,
    after: Floats,
    users: Sequence[str],
    confidence: float,
    seed: int = 0,
) -> Figures:
    """`bad` [n] in [0, 1]; `before` and `after`: the two heads' logits [n]; whose label each is. Labels
    of exactly a half rank nothing."""
    losses = [cross_entropy(logits, bad) for logits in (before, after)]
    names, owner = np.unique(np.array(users), return_inverse=True)
    owner = owner.astype(np.int64)
    gains = np.bincount(owner, losses[0] - losses[1])
    sizes = np.bincount(owner).astype(float)
    orders = [_orders(bad, logits, owner, len(names)) for logits in (before, after)]
    pairs = _pairs(bad, owner, len(names))
    drawn: list[Floats] = []
    for counts in _draws(len(names), confidence, seed):
        rocs = [_auroc(order, pairs, counts) for order in orders]
        drawn.append(np.stack([(counts @ gains) / (counts @ sizes), *rocs, rocs[1] - rocs[0]]))
    everyone = np.ones((1, len(names)))
    roc_before, roc_after = (float(_auroc(order, pairs, everyone)[0]) for order in orders)
    gain = float(gains.sum() / sizes.sum())
    values = [gain, roc_before, roc_after, roc_after - roc_before]
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(np.concatenate(drawn, axis=1), [tail, 1.0 - tail], axis=1)
    intervals = [Interval(v, float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)]
    return Figures(
        labels=len(bad),
        users=len(names),
        confidence=confidence,
        log_loss_before=float(losses[0].mean()),
        log_loss_after=float(losses[1].mean()),
        log_loss_gain=intervals[0],
        auroc_before=intervals[1],
        auroc_after=intervals[2],
        auroc_gain=intervals[3],
        calibration_error_before=calibration_error(sigmoid(before), bad),
        calibration_error_after=calibration_error(sigmoid(after), bad),
    )


def _draws(users: int, confidence: float, seed: int) -> list[Floats]:
    """How often each user was drawn, [draws, users] a part: as many draws as the interval's ends need."""
    random = np.random.default_rng(seed)
    wanted = max(_LEAST_DRAWS, int(2 * _TAIL / (1.0 - confidence)))
    wanted = min(wanted, max(_LEAST_DRAWS, _MOST_NUMBERS // users))
    parts = [_AT_ONCE] * (wanted // _AT_ONCE) + [wanted % _AT_ONCE] * bool(wanted % _AT_ONCE)
    even = np.full(users, 1.0 / users)
    return [random.multinomial(users, even, size).astype(float) for size in parts]


def _orders(bad: Floats, logits: Floats, owner: Numbers, users: int) -> Floats:
    """[users, users]: of the pairs of one user's dissatisfied and another's satisfied label, how many
    are in the right order; ties half."""
    positive, negative = np.flatnonzero(bad > 0.5), np.flatnonzero(bad < 0.5)
    found = np.zeros((users, users))
    for one in positive:
        right = np.sign(logits[one] - logits[negative]) / 2.0 + 0.5
        found[owner[one]] += np.bincount(owner[negative], right, users)
    return found


def _pairs(bad: Floats, owner: Numbers, users: int) -> tuple[Floats, Floats]:
    """How many dissatisfied and how many satisfied labels each user has."""
    sorts = (bad > 0.5, bad < 0.5)
    of_bad, of_good = (np.bincount(owner[one], minlength=users).astype(float) for one in sorts)
    return of_bad, of_good


def _auroc(orders: Floats, pairs: tuple[Floats, Floats], counts: Floats) -> Floats:
    """[draws], of users counted so often; a half where there is nothing to compare."""
    all_pairs = (counts @ pairs[0]) * (counts @ pairs[1])
    right = ((counts @ orders) * counts).sum(1)
    return np.asarray(np.where(all_pairs > 0, right / np.maximum(all_pairs, 1.0), 0.5))
