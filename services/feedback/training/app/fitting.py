"""Fitting a judge of follow-ups on labelled lines: folds, models, and how they are blended.

For each kind of model there are one or more settings. Every setting is fitted without each fold in
turn and judges that fold (where lines are many: one half, by the other alone); the setting with the
least cross entropy there is fitted again on all lines. The blend and its threshold come from the
judgements of held-out folds alone, and so does how sure the first model must be to need no other.
The folds keep lines of one conversation together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.feedback.mining.app.features import Conversation, Floats
from services.feedback.training.app import blend as blending
from services.feedback.training.app.blend import Blend, Cascade, FoldFigures
from services.feedback.training.app.lines import (
    LOW_CONFIDENCE,
    NOTHING_SAID,
    Example,
    groups_of,
    labels_of,
    share_matrix,
)
from shared.language.errors import FailedPrecondition

LEAST_LINES = 10
# From here on one half of the lines is plenty to choose a setting, a blend and a threshold by.
MANY_LINES = 6_000
# So many lines are with the other models while the first judges the next.
_PART = 1_024
Numbers = NDArray[np.int64]
Tell = Callable[[str], None]


class Model(Protocol):
    def logits(self, conversations: Sequence[Conversation]) -> Floats:
        """[n, labels]: the larger, the likelier. Pure: the same for the same texts."""

    def save(self, folder: Path) -> None:
        """Into an existing folder; nothing in it can run."""


class Learner(Protocol):
    @property
    def name(self) -> str:
        """What it is and how it is set, for people."""

    def fit(self, conversations: Sequence[Conversation], shares: Floats, seed: int) -> Model:
        """`shares` [n, labels] sum to one in each row. A label may have none."""


@dataclass(frozen=True, slots=True)
class Judge:
    """What was fitted: one model of each kind, and their blend."""

    labels: tuple[str, ...]
    models: tuple[Model, ...]
    blend: Blend
    # None: every line is judged by all models.
    cascade: Cascade | None = None

    def probabilities(self, conversations: Sequence[Conversation]) -> Floats:
        """[n, labels]. The first model counts words while the others multiply."""
        parts = [
            conversations[start : start + _PART]
            for start in range(0, max(len(conversations), 1), _PART)
        ]
        with ThreadPoolExecutor(1) as pool:
            found = [pool.submit(self._judged, part, self.models[0].logits(part)) for part in parts]
            return np.concatenate([one.result() for one in found])

    def _judged(self, conversations: Sequence[Conversation], first: Floats) -> Floats:
        if self.cascade is None:
            others = [model.logits(conversations) for model in self.models[1:]]
            return self.blend.probabilities([first, *others])
        rows = self.cascade.alone.probabilities([first])
        unsure = np.flatnonzero(rows.max(1) < self.cascade.sure)
        if len(unsure):
            asked = [conversations[one] for one in unsure]
            others = [model.logits(asked) for model in self.models[1:]]
            rows[unsure] = self.blend.probabilities([first[unsure], *others])
        return rows

    def reasons(self, conversations: Sequence[Conversation], rows: Floats) -> list[str]:
        """Why it abstains; empty where it does not."""
        return [
            NOTHING_SAID
            if not _says_something(conversation.follow_up)
            else (LOW_CONFIDENCE if row.max() < self.blend.threshold else "")
            for conversation, row in zip(conversations, rows, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class FittedJudge:
    judge: Judge
    chosen: tuple[str, ...]
    folds: int
    figures: FoldFigures


def fit(
    examples: Sequence[Example], kinds: Sequence[Sequence[Learner]], seed: int, tell: Tell
) -> FittedJudge:
    """Raises FailedPrecondition where there are too few lines or labels."""
    labels = labels_of(examples)
    if len(labels) < 2:
        raise FailedPrecondition(
            f"at least two labels are needed to fit, found {list(labels)}", reason="TOO_FEW_LABELS"
        )
    if len(examples) < LEAST_LINES:
        raise FailedPrecondition(
            f"at least {LEAST_LINES} lines are needed to fit, found {len(examples)}",
            reason="TOO_FEW_LINES",
        )
    conversations = [one.conversation for one in examples]
    shares = share_matrix(examples, labels)
    folds = folds_of(groups_of(conversations), fold_count(len(examples)), seed)
    judged = range(1 if len(examples) >= MANY_LINES else int(folds.max()) + 1)
    chosen, held_out = [], []
    for learners in kinds:
        learner, logits = _best(learners, conversations, shares, folds, judged, seed, tell)
        chosen.append(learner)
        held_out.append(logits)
    truth = shares[np.isin(folds, judged)]
    blend = blending.fit_blend(held_out, truth)
    rows, cascade = blend.probabilities(held_out), None
    if len(kinds) > 1:
        cascade, rows = blending.fit_cascade(held_out[0], rows, truth)
        blend = replace(blend, threshold=blending.choose_threshold(rows, truth))
    models = []
    for learner in chosen:
        tell(f"{learner.name}: all {len(examples)} lines")
        models.append(learner.fit(conversations, shares, seed))
    return FittedJudge(
        Judge(labels, tuple(models), blend, cascade),
        tuple(learner.name for learner in chosen),
        len(judged),
        blending.figures(rows, truth, labels, blend.threshold),
    )


def fold_count(lines: int) -> int:
    """Fewer where fitting takes long and a part is plenty."""
    return 5 if lines < 500 else 3 if lines < MANY_LINES else 2


def folds_of(groups: Sequence[str], count: int, seed: int) -> Numbers:
    """The fold of each line: whole groups, the folds as even as can be; the largest first."""
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    filled = [0] * count
    fold: dict[str, int] = {}
    for group in sorted(sizes, key=lambda one: (-sizes[one], _shuffled(one, seed))):
        fold[group] = filled.index(min(filled))
        filled[fold[group]] += sizes[group]
    found = np.array([fold[group] for group in groups])
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _best(
    learners: Sequence[Learner],
    conversations: Sequence[Conversation],
    shares: Floats,
    folds: Numbers,
    judged: Sequence[int],
    seed: int,
    tell: Tell,
) -> tuple[Learner, Floats]:
    """The learner with the least held-out cross entropy, and its logits of the `judged` folds."""
    truth = shares[np.isin(folds, judged)]
    tried = []
    for learner in learners:
        logits = _held_out(learner, conversations, shares, folds, judged, seed, tell)
        rows = blending.fit_blend([logits], truth).probabilities([logits])
        tried.append((-float((truth * np.log(rows + 1e-12)).sum(1).mean()), logits))
    number = min(range(len(tried)), key=lambda one: tried[one][0])
    return learners[number], tried[number][1]


def _held_out(
    learner: Learner,
    conversations: Sequence[Conversation],
    shares: Floats,
    folds: Numbers,
    judged: Sequence[int],
    seed: int,
    tell: Tell,
) -> Floats:
    logits = np.zeros_like(shares)
    for fold in judged:
        tell(f"{learner.name}: fold {fold + 1} of {len(judged)}")
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if not len(inside):  # one conversation alone
            inside = outside
        model = learner.fit([conversations[i] for i in inside], shares[inside], seed)
        logits[outside] = model.logits([conversations[i] for i in outside])
    return logits[np.isin(folds, judged)]


def _says_something(text: str) -> bool:
    return any(
        character.isalnum() or character in "?!" or ord(character) > 0x2000 for character in text
    )


def _shuffled(group: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {group}".encode()).hexdigest()
