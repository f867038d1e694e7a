"""A tenant's own labels into a head of dissatisfaction, if there are enough of them and the gate allows it.

A label is a follow-up whose answer its user also judged outside the conversation: dissatisfaction is one
minus the normalised value (of several values their mean). The head is fitted on users who are not held out
(shared.language.splits), its strength chosen on folds of them, and the gate looks at the held-out users alone.

Counts of stage "feedback.heads", one for each time that a tenant's labels are looked at: made: "promoted";
abstained: NOTHING_NEW, TOO_FEW_LABELS, TOO_FEW_USERS, TOO_FEW_HELD_OUT_USERS, ONE_SIDED (nothing was
fitted), NOT_BETTER, CAN_NOT_TELL, RANKS_WORSE (the gate; see heads/app/gate.py); dropped: FAILED; waiting:
TO_FIT.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from services.feedback.heads.app.fitting import choose_strength, fit
from services.feedback.heads.app.gate import GateRules, compare, verdict
from services.feedback.heads.domain import Correction, Figures, HeadLabel, Stand
from services.feedback.mining.app.classifier import Classifier, Exchange, Read
from services.feedback.mining.app.dissatisfaction import DissatisfactionHead, inputs_of
from services.feedback.mining.app.features import Floats
from shared.language.batches import batches
from shared.language.splits import fold, is_held_out

STAGE, WAITS, PROMOTED = "feedback.heads", "TO_FIT", "promoted"
FIT_JOB, TRACK_JOB = "heads.fit", "heads.track"
NOTHING_NEW, ONE_SIDED = "NOTHING_NEW", "ONE_SIDED"
TOO_FEW_LABELS, TOO_FEW_USERS = "TOO_FEW_LABELS", "TOO_FEW_USERS"
TOO_FEW_HELD_OUT_USERS = "TOO_FEW_HELD_OUT_USERS"
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class RefitRules:
    """`min_labels` of `min_users` to fit on, `min_held_out_users` to judge by, and `new_labels` since
    the last fit; of each user the newest `most_per_user` count, of all the newest `most_labels`."""

    min_labels: int = 200
    min_users: int = 30
    min_held_out_users: int = 10
    new_labels: int = 50
    most_labels: int = 5000
    most_per_user: int = 20
    folds: int = 5
    gate: GateRules = field(default_factory=GateRules)


class Fitted(NamedTuple):
    """`reason`: empty if it may serve. `sources`: (user, conversation) of what it was fitted on."""

    correction: Correction
    strength: float
    figures: Figures
    reason: str
    sources: frozenset[tuple[str, str]]
    against: Stand


@dataclass(frozen=True, slots=True)
class Refit:
    """What a look came to. `labels` and `users` are those to fit on; `reason`: why nothing was fitted."""

    labels: int
    users: int
    held_out_users: int
    seen: int
    reason: str = ""
    fitted: Fitted | None = None


@dataclass(frozen=True, slots=True)
class RefitHead:
    """`shipped` is the head that is corrected."""

    classifier: Classifier
    shipped: DissatisfactionHead
    rules: RefitRules

    def __call__(
        self,
        tenant: str,
        labels: Sequence[HeadLabel],
        stand: Stand,
        new_labels: int | None = None,
    ) -> Refit:
        """`labels` newest first; `new_labels`: instead of the rules'."""
        kept = capped(labels[: self.rules.most_labels], self.rules.most_per_user)
        to_judge = [one for one in kept if is_held_out(tenant, one.user_id)]
        to_fit = [one for one in kept if not is_held_out(tenant, one.user_id)]
        seen = max((one.place for one in labels), default=stand.seen)
        counts = (len(to_fit), len(_users(to_fit)), len(_users(to_judge)), seen)
        new = sum(one.place > stand.seen for one in labels)
        least = self.rules.new_labels if new_labels is None else new_labels
        if reason := self._too_little(to_fit, to_judge, new, least):
            return Refit(*counts, reason)
        return Refit(*counts, fitted=self._fit(tenant, to_fit, to_judge, stand))

    def _too_little(
        self, to_fit: Sequence[HeadLabel], to_judge: Sequence[HeadLabel], new: int, least: int
    ) -> str:
        rules = self.rules
        if len(to_fit) < rules.min_labels:
            return TOO_FEW_LABELS
        if len(_users(to_fit)) < rules.min_users:
            return TOO_FEW_USERS
        if len(_users(to_judge)) < rules.min_held_out_users:
            return TOO_FEW_HELD_OUT_USERS
        if new < least:
            return NOTHING_NEW
        return "" if _both_sorts(to_fit) and _both_sorts(to_judge) else ONE_SIDED

    def _fit(
        self,
        tenant: str,
        to_fit: Sequence[HeadLabel],
        to_judge: Sequence[HeadLabel],
        stand: Stand,
    ) -> Fitted:
        rows, logits, bad = self._inputs(to_fit)
        folds = [fold(tenant, one.user_id, self.rules.folds) for one in to_fit]
        strength = choose_strength(rows, logits, bad, folds)
        correction = fit(rows, logits, bad, strength)
        figures = self._figures(correction, to_judge, stand)
        return Fitted(
            correction,
            strength,
            figures,
            verdict(figures, self.rules.gate),
            frozenset((one.user_id, one.conversation_id) for one in to_fit),
            stand,
        )

    def _figures(
        self, correction: Correction, to_judge: Sequence[HeadLabel], stand: Stand
    ) -> Figures:
        rows, logits, bad = self._inputs(to_judge)
        return compare(
            bad,
            np.asarray(rows @ stand.head.weights + stand.head.bias),
            correction.logits(rows, logits),
            [one.user_id for one in to_judge],
            self.rules.gate.confidence(stand.attempts + 1),
        )

    def _inputs(self, labels: Sequence[HeadLabel]) -> tuple[Any, Floats, Floats]:
        """The head's inputs (sparse), the shipped head's logits, and the labels."""
        read = self._read([one.exchange for one in labels])
        shipped = self.shipped
        rows = inputs_of(
            read.conversations, read.follow_ups, read.kinds, shipped.mean, shipped.scale
        )
        bad = np.array([one.bad for one in labels])
        return rows, np.asarray(rows @ shipped.weights + shipped.bias), bad

    def _read(self, exchanges: Sequence[Exchange]) -> Read:
        parts = [self.classifier.read(some) for some in batches(exchanges, _AT_ONCE)]
        return Read(
            [one for part in parts for one in part.conversations],
            np.concatenate([part.requests for part in parts]),
            np.concatenate([part.follow_ups for part in parts]),
            np.concatenate([part.kinds for part in parts]),
        )


def capped(labels: Iterable[HeadLabel], most_per_user: int) -> list[HeadLabel]:
    """The first `most_per_user` of each user."""
    kept: list[HeadLabel] = []
    counts: dict[str, int] = {}
    for one in labels:
        counts[one.user_id] = counts.get(one.user_id, 0) + 1
        if counts[one.user_id] <= most_per_user:
            kept.append(one)
    return kept


def _users(labels: Sequence[HeadLabel]) -> set[str]:
    return {one.user_id for one in labels}


def _both_sorts(labels: Sequence[HeadLabel]) -> bool:
    return any(one.bad > 0.5 for one in labels) and any(one.bad < 0.5 for one in labels)
