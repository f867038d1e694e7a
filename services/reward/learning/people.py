"""Groups of people with tastes of their own, in addition to the one reward for everybody, and who is in which.

The same learning as the offline commands' (learning/fitting.py): groups by hard EM over users, their
number chosen on held-out users, users who work against everyone weighed less, every figure taken on
requests that the judging model had not seen. What it says is served and shown; the pairs that policies
are trained on are judged by the cross-fitted ensemble alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from services.reward.domain import (
    Accuracy,
    Answer,
    Group,
    Judgement,
    Pair,
    People,
    WellBeing,
)
from services.reward.learning import report, traits
from services.reward.learning.asking import statements
from services.reward.learning.belonging import Belonging, belonging
from services.reward.learning.features import Array
from services.reward.learning.fitting import TASTE_L2, Fitted, Model, Options, fit
from services.reward.learning.groups import LEAST_USERS
from services.reward.learning.lines import Preference, judged
from services.reward.learning.table import Extractor, Surface, extract
from shared.language.errors import FailedPrecondition

# How sure a score is, the ensemble says.
_OPTIONS = Options(members=0)
# A user who said less is in no group: judging one row would leave nothing else to tell their group by.
LEAST_ROWS_OF_USER = 3


class Embedding(Protocol):
    """Texts as vectors, (len(texts), dim)."""

    def embed(self, texts: Sequence[str]) -> Array: ...


class Answers:
    """The answers' own embeddings as a block of features."""

    name = "encoder"
    weight = 1.0

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding

    def features(self, answers: Sequence[Answer]) -> Array:
        return self._embedding.embed([one.text for one in answers])


def blocks_of(embedding: Embedding) -> list[Extractor]:
    """What rewards of groups and of segments see of an answer."""
    return [Answers(embedding), Surface()]


@dataclass(frozen=True)
class LearntPeople:
    """`belonging` and `members` (group numbers by user) only if there are groups."""

    people: People
    tastes: Model
    belonging: Belonging | None
    members: Mapping[str, int]


class LearnPeople:
    def __init__(self, embedding: Embedding) -> None:
        self._blocks = blocks_of(embedding)

    def __call__(
        self,
        pairs: Sequence[Pair],
        judgements: Sequence[Judgement],
        fold_of: Callable[[str], int],
        folds: int,
        groups_of: Mapping[str, Sequence[str]] = {},
    ) -> LearntPeople | None:
        """None while too few people have said enough. Of the users' groups only those count that are their own
        wishes (asking.py)."""
        every = preferences(pairs, judgements)
        known = Counter(one.user for one in every)
        said = [one for one in every if known[one.user] >= LEAST_ROWS_OF_USER]
        if len({one.user for one in said}) < 2 * LEAST_USERS:
            return None
        try:
            asked_for = {user: statements(groups) for user, groups in groups_of.items()}
            fitted = fit(said, self._blocks, _OPTIONS, lambda _: None, asked_for)
        except FailedPrecondition:
            return None
        if fitted.grouping.count < 2:
            return LearntPeople(_people(fitted), fitted.model, None, {})
        found = belonging(fitted.table, fitted.grouping, TASTE_L2, fold_of, folds)
        members = dict(zip(fitted.table.names, fitted.grouping.of_user.tolist(), strict=True))
        return LearntPeople(_people(fitted), fitted.model, found, members)


@dataclass(frozen=True, slots=True)
class Speaker:
    """What a user said: `statements` as of asking.py. `fold`: the user's (belonging.py)."""

    preferences: Sequence[Preference]
    fold: int
    statements: Sequence[str] = ()


class Probabilities:
    """How probable it is that users are of each group, by what they said."""

    def __init__(self, embedding: Embedding) -> None:
        self._blocks = blocks_of(embedding)

    def __call__(
        self,
        model: Model,
        belonging: Belonging,
        speakers: Sequence[Speaker],
    ) -> list[dict[str, float]]:
        """By group, for each user."""
        rows = [row for one in speakers for row in one.preferences]
        both = [one.better for one in rows] + [one.worse for one in rows]
        scaled = np.zeros((0, belonging.coefficients.shape[-1]))
        if rows:
            scaled = model.scaling(extract(self._blocks, both, lambda _: None))
        levels = np.array([float(one.level) for one in rows])
        better, worse = scaled[: len(rows)], scaled[len(rows) :]
        better[levels < 0], worse[levels > 0] = 0.0, 0.0
        found, start = [], 0
        for one in speakers:
            mine = slice(start, start + len(one.preferences))
            p = belonging.probabilities(
                better[mine], worse[mine], levels[mine], one.fold, one.statements
            )
            found.append(dict(zip(_names(model), p.tolist(), strict=True)))
            start += len(one.preferences)
        return found


def preferences(pairs: Sequence[Pair], judgements: Sequence[Judgement]) -> list[Preference]:
    compared = [Preference(p.better, p.worse, p.better.request, p.user_id) for p in pairs]
    return [*compared, *(judged(j.answer, j.user_id, is_content=j.is_content) for j in judgements)]


def renamed(
    people: People, tastes: Model, kept: Sequence[str], in_use: Sequence[str]
) -> tuple[People, Model]:
    """With the names that groups had before (`kept`, "" for a new one); a new group's name is none `in_use`."""
    names: list[str] = []
    for group, name in zip(tastes.groups, kept, strict=True):
        names.append(name or traits.unused(group.name, [*in_use, *kept, *names]))
    groups = tuple(replace(g, name=name) for g, name in zip(people.groups, names, strict=True))
    rewards = tuple(replace(g, name=name) for g, name in zip(tastes.groups, names, strict=True))
    return replace(people, groups=groups), replace(tastes, groups=rewards)


def _names(model: Model) -> list[str]:
    return [group.name for group in model.groups]


class GroupRewards:
    """Scores answers as each group, or each declared segment, would have them."""

    def __init__(self, embedding: Embedding) -> None:
        self._blocks = blocks_of(embedding)

    def __call__(
        self, tastes: Model | None, segments: Model | None, answers: Sequence[Answer]
    ) -> list[dict[str, float]]:
        """One dict per answer; empty if no groups are told apart."""
        told = [] if tastes is None or len(tastes.groups) < 2 else [tastes]
        told += [] if segments is None else [segments]
        if not told:
            return [{} for _ in answers]
        raw = np.hstack([block.features(answers) for block in self._blocks])
        columns: dict[str, Array] = {}
        for model in told:
            features = model.scaling(raw)
            columns |= {group.name: group.reward(features) for group in model.groups}
        return [
            {name: float(rewards[at]) for name, rewards in columns.items()}
            for at in range(len(answers))
        ]


def _people(fitted: Fitted) -> People:
    of_groups = report.groups_of(fitted)
    welfare, trust = report.users_welfare(fitted) or {}, report.trust_of(fitted) or {}
    one = WellBeing(**welfare["one_model"])
    return People(
        groups=tuple(_group(row) for row in of_groups),
        by_one_model=one,
        by_group_models=WellBeing(**welfare["group_models"]) if "group_models" in welfare else one,
        down_weighted=trust.get("down_weighted", 0),
        suspects=trust.get("suspects", 0),
    )


def _group(row: dict[str, Any]) -> Group:
    def judged(by: str) -> Accuracy:
        found = row[by]
        interval = (found["accuracy"], found["low"], found["high"])
        return Accuracy(*interval, found["pairs"], row["users"], found["method"])

    return Group(
        name=row["name"],
        users=row["users"],
        pairs=row["pairs"],
        prefers=tuple((one["what"], one["z"]) for one in row["prefers"]),
        by_one_model=judged("one_model"),
        by_own_model=judged("own_model"),
    )
