"""Preferences as arrays: features of every answer, who said it, and how much it counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from services.reward.domain import Answer
from services.reward.learning import traits
from services.reward.learning.features import surface
from services.reward.learning.groups import Comparisons, even_weights
from services.reward.learning.lines import Preference, Rated
from shared.language.identifiers import share_of

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Tell = Callable[[str], None]
NOBODY = -1
# Below this standard deviation a feature is taken as constant.
_LEAST_SPREAD = 1e-3
_CHUNK = 256


class Extractor(Protocol):
    """One block of features. `weight` is how much the whole block counts, whatever its width."""

    @property
    def name(self) -> str: ...

    @property
    def weight(self) -> float: ...

    def features(self, answers: Sequence[Answer]) -> Array:
        """(n, width), the same for the same answers up to the rounding of a batch."""


@runtime_checkable
class Learner(Extractor, Protocol):
    """A block that is itself learnt from preferences. Its features of answers that it learnt from are
    those of a part of it that did not know their topic."""

    def learn(self, pairs: Sequence[Preference], weights: Array, tell: Tell) -> None:
        """`weights` (n,): how much each pair counts."""

    def save(self, folder: Path) -> None:
        """What was learnt, into the model's folder. Raises OSError."""


class Surface:
    """What anyone sees: lengths in soft steps (features.py) and traits (traits.py)."""

    name = "surface"
    weight = 0.7

    def features(self, answers: Sequence[Answer]) -> Array:
        seen = [[*surface(one.text), *traits.traits(one.text)] for one in answers]
        return np.array(seen).reshape(len(answers), -1)


@dataclass(frozen=True)
class Scaling:
    """Features become (x - mean) * scale: each standardised, each block of one weight."""

    mean: Array
    scale: Array

    def __call__(self, features: Array) -> Array:
        scaled: Array = (features - self.mean) * self.scale
        return scaled


@dataclass(frozen=True)
class Table:
    """Row i of `better` and `worse` (n, d), scaled, are pair i's answers; `users` (n,) in 0..U-1 or
    NOBODY; `topics` (n,); `names` of the users. `surface_at`: where the surface block begins."""

    pairs: Sequence[Preference]
    better: Array
    worse: Array
    users: Ints
    topics: Ints
    names: tuple[str, ...]
    scaling: Scaling
    surface_at: int

    @property
    def differences(self) -> Array:
        found: Array = self.better - self.worse
        return found

    @property
    def confidences(self) -> Array:
        return np.array([one.confidence for one in self.pairs])

    @property
    def trait_differences(self) -> Array:
        better = traits.matrix([one.better.text for one in self.pairs])
        return better - traits.matrix([one.worse.text for one in self.pairs])

    @property
    def lengths(self) -> tuple[Array, Array]:
        """Words of the better and of the worse answers, (n,) each."""
        return (
            np.array([float(len(one.better.text.split())) for one in self.pairs]),
            np.array([float(len(one.worse.text.split())) for one in self.pairs]),
        )


def extract(extractors: Sequence[Extractor], answers: Sequence[Answer], tell: Tell) -> Array:
    """(n, d), a chunk at a time; each different answer once. Alike in length together."""
    unique = sorted(set(answers), key=lambda one: (len(one.text), one.text, one.request))
    rows: list[Array] = []
    for start in range(0, len(unique), _CHUNK):
        chunk = unique[start : start + _CHUNK]
        rows.append(np.hstack([extractor.features(chunk) for extractor in extractors]))
        tell(f"features of {start + len(chunk)} of {len(unique)} answers")
    place = {answer: at for at, answer in enumerate(unique)}
    return np.vstack(rows)[[place[answer] for answer in answers]]


def build(extractors: Sequence[Extractor], pairs: Sequence[Preference], tell: Tell) -> Table:
    both = [one.better for one in pairs] + [one.worse for one in pairs]
    raw = extract(extractors, both, tell)
    scaling = scaling_of(raw, extractors, both[0])
    scaled = scaling(raw)
    names = tuple(sorted({one.user for one in pairs if one.user}))
    number = {name: at for at, name in enumerate(names)} | {"": NOBODY}
    return Table(
        pairs=pairs,
        better=scaled[: len(pairs)],
        worse=scaled[len(pairs) :],
        users=np.array([number[one.user] for one in pairs], dtype=np.int64),
        topics=_numbered([one.topic for one in pairs]),
        names=names,
        scaling=scaling,
        surface_at=raw.shape[1] - extractors[-1].features(both[:1]).shape[1],
    )


def topic_folds(pairs: Sequence[Preference] | Sequence[Rated], folds: int, seed: int) -> Ints:
    """(n,): all lines on one topic share a fold. Shared-out evenly, so that small data has all."""
    topics = sorted({one.topic for one in pairs}, key=lambda t: share_of(t, f"reward/{seed}"))
    fold = {topic: at % folds for at, topic in enumerate(topics)}
    return np.array([fold[one.topic] for one in pairs], dtype=np.int64)


def taste_space(table: Table, components: int = 24) -> Comparisons:
    """The pairs of known users in few dimensions, for groups and trust: the surface as it is, the
    rest by its principal components (over the differences)."""
    known = table.users != NOBODY
    differences = table.differences[known]
    dense = differences[:, : table.surface_at]
    seen = differences[:, table.surface_at :] / Surface.weight
    parts = [seen]
    if dense.shape[1]:
        gram = dense.T @ dense
        values, vectors = np.linalg.eigh(gram)
        main = vectors[:, np.argsort(-values, kind="stable")[:components]]
        projected = dense @ main
        spread = max(float(projected.std()), 1e-9)
        parts.append(projected / spread * seen.std())
    return Comparisons(
        np.hstack(parts),
        even_weights(table.users[known]),
        table.confidences[known],
        table.users[known],
    )


def scaling_of(raw: Array, extractors: Sequence[Extractor], one: Answer) -> Scaling:
    """`one` is any answer, to see how wide each block is."""
    widths = [extractor.features([one]).shape[1] for extractor in extractors]
    weights = [extractor.weight for extractor in extractors]
    spread = raw.std(axis=0)
    block = np.concatenate(
        [np.full(width, weight / width**0.5) for width, weight in zip(widths, weights, strict=True)]
    )
    scale = np.where(spread > _LEAST_SPREAD, block / np.maximum(spread, _LEAST_SPREAD), 0.0)
    return Scaling(raw.mean(axis=0), scale)


def _numbered(values: Sequence[str]) -> Ints:
    number = {value: at for at, value in enumerate(dict.fromkeys(values))}
    return np.array([number[value] for value in values], dtype=np.int64)
