"""Groups of people with tastes of their own, in addition to the one reward for everybody.

The same learning as the offline commands' (learning/fitting.py): groups by hard EM over users, their
number chosen on held-out users, users who work against everyone weighed less, every figure taken on
requests that the judging model had not seen. What it says is served and shown; the pairs that policies
are trained on are judged by the cross-fitted ensemble alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from services.reward.domain import Accuracy, Answer, Group, Pair, People, WellBeing
from services.reward.learning import report
from services.reward.learning.features import Array
from services.reward.learning.fitting import Fitted, Model, Options, fit
from services.reward.learning.groups import LEAST_USERS
from services.reward.learning.lines import Preference
from services.reward.learning.table import Extractor, Surface
from shared.language.errors import FailedPrecondition

# How sure a score is, the ensemble says.
_OPTIONS = Options(members=0)
# A user who said less is in no group: judging one pair would leave nothing else to tell their group by.
LEAST_PAIRS_OF_USER = 3


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


class LearnPeople:
    def __init__(self, embedding: Embedding) -> None:
        self._blocks: list[Extractor] = [Answers(embedding), Surface()]

    def __call__(self, pairs: Sequence[Pair]) -> tuple[People, Model] | None:
        """None while too few people have said enough."""
        known = Counter(pair.user_id for pair in pairs)
        said = [
            Preference(p.better, p.worse, p.better.request, p.user_id)
            for p in pairs
            if known[p.user_id] >= LEAST_PAIRS_OF_USER
        ]
        if len({one.user for one in said}) < 2 * LEAST_USERS:
            return None
        try:
            fitted = fit(said, self._blocks, _OPTIONS, lambda _: None)
        except FailedPrecondition:
            return None
        return _people(fitted), fitted.model


class GroupRewards:
    """Scores answers as each group would have them."""

    def __init__(self, embedding: Embedding) -> None:
        self._blocks: list[Extractor] = [Answers(embedding), Surface()]

    def __call__(self, model: Model | None, answers: Sequence[Answer]) -> list[dict[str, float]]:
        """One dict per answer; empty if no groups are told apart."""
        if model is None or len(model.groups) < 2:
            return [{} for _ in answers]
        raw = np.hstack([block.features(answers) for block in self._blocks])
        features = model.scaling(raw)
        columns = {group.name: group.reward(features) for group in model.groups}
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
