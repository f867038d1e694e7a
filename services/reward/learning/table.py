"""Preferences as arrays: features of every answer, who said it, and how much it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from services.reward.domain import Answer
from services.reward.learning import asking, traits
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
    NOBODY; `topics` (n,); `names` of the users. `surface_at`: where the surface block begins.
    `asked` (U, W): 1 where a user makes one of the `statements` (asking.py)."""

    pairs: Sequence[Preference]
    better: Array
    worse: Array
    users: Ints
    topics: Ints
    names: tuple[str, ...]
    scaling: Scaling
    surface_at: int
    statements: tuple[str, ...]
    asked: Array

    @property
    def differences(self) -> Array:
        found: Array = self.better - self.worse
        return found

    @property
    def confidences(self) -> Array:
        return np.array([one.confidence for one in self.pairs])

    @property
    def levels(self) -> Array:
        return np.array([float(one.level) for one in self.pairs])

    def answers(self, rows: NDArray[np.bool_]) -> Array:
        """Of those rows, without the average that judged ones are set against."""
        levels = self.levels[rows]
        return np.vstack([self.better[rows][levels >= 0], self.worse[rows][levels <= 0]])

    @property
    def trait_differences(self) -> Array:
        better = traits.matrix([one.better.text for one in self.pairs])
        worse = traits.matrix([one.worse.text for one in self.pairs])
        better, worse = _averaged(better, worse, self.levels)
        return better - worse

    @property
    def lengths(self) -> tuple[Array, Array]:
        """Words of the better and of the worse answers, (n,) each."""
        better = np.array([float(len(one.better.text.split())) for one in self.pairs])
        worse = np.array([float(len(one.worse.text.split())) for one in self.pairs])
        return _averaged(better, worse, self.levels)


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


def build(
    extractors: Sequence[Extractor],
    pairs: Sequence[Preference],
    tell: Tell,
    asked_for: Mapping[str, Sequence[str]] = {},
) -> Table:
    """`asked_for`: each user's statements."""
    both = [one.better for one in pairs] + [one.worse for one in pairs]
    raw, levels = extract(extractors, both, tell), np.array([one.level for one in pairs])
    scaling = scaling_of(raw[np.concatenate([levels >= 0, levels <= 0])], extractors, both[0])
    scaled = scaling(raw)
    # The average answer, which scaling puts at the origin.
    scaled[np.concatenate([levels < 0, levels > 0])] = 0.0
    names = tuple(sorted({one.user for one in pairs if one.user}))
    number = {name: at for at, name in enumerate(names)} | {"": NOBODY}
    statements, asked = asking.table_of(asked_for, names)
    return Table(
        pairs=pairs,
        better=scaled[: len(pairs)],
        worse=scaled[len(pairs) :],
        users=np.array([number[one.user] for one in pairs], dtype=np.int64),
        topics=_numbered([one.topic for one in pairs]),
        names=names,
        scaling=scaling,
        surface_at=raw.shape[1] - extractors[-1].features(both[:1]).shape[1],
        statements=statements,
        asked=asked,
    )


def topic_folds(pairs: Sequence[Preference] | Sequence[Rated], folds: int, seed: int) -> Ints:
    """(n,): all lines on one topic share a fold. Shared-out evenly, so that small data has all."""
    topics = sorted({one.topic for one in pairs}, key=lambda t: share_of(t, f"reward/{seed}"))
    fold = {topic: at % folds for at, topic in enumerate(topics)}
    return np.array([fold[one.topic] for one in pairs], dtype=np.int64)


def taste_space(table: Table) -> Comparisons:
    """The pairs of known users in few dimensions (`taste_axes`), for groups and trust."""
    known = table.users != NOBODY
    return Comparisons(
        table.differences[known] @ taste_axes(table),
        even_weights(table.users[known]),
        table.confidences[known],
        table.users[known],
        table.levels[known],
        table.asked,
    )


def taste_axes(table: Table, components: int = 24) -> Array:
    """(d, m): the surface as it is, the rest by its principal components (over known users' differences)."""
    differences = table.differences[table.users != NOBODY]
    dense, seen = differences[:, : table.surface_at], differences[:, table.surface_at :]
    parts = [np.vstack([np.zeros((dense.shape[1], seen.shape[1])), np.eye(seen.shape[1])])]
    parts[0] /= Surface.weight
    if dense.shape[1]:
        values, vectors = np.linalg.eigh(dense.T @ dense)
        main = vectors[:, np.argsort(-values, kind="stable")[:components]]
        spread = max(float((dense @ main).std()), 1e-9)
        scaled = main / spread * float(seen.std()) / Surface.weight
        parts.append(np.vstack([scaled, np.zeros((seen.shape[1], scaled.shape[1]))]))
    return np.hstack(parts)


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


def _averaged(better: Array, worse: Array, levels: Array) -> tuple[Array, Array]:
    """Something of the better and of the worse answers, with the average of all where there is no answer."""
    average = np.concatenate([better[levels >= 0], worse[levels <= 0]]).mean(axis=0)
    better, worse = better.copy(), worse.copy()
    better[levels < 0], worse[levels > 0] = average, average
    return better, worse


def _numbered(values: Sequence[str]) -> Ints:
    number = {value: at for at, value in enumerate(dict.fromkeys(values))}
    return np.array([number[value] for value in values], dtype=np.int64)
