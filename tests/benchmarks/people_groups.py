"""Who is in which group of people, learnt from what made-up users prefer and how they judge answers.

people.groups.POPULATION    of users who judged three answers or more, held-out ones included: the share in
                            the right group, with a 95% interval; the groups found, by seed. Of one taste: the
                            share of seeds with one group

What the reward service runs (LearnPeople, Probabilities), without a service. Populations: tests/unit/reward/
judged_people.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.reward.learning.asking import statements
from services.reward.learning.belonging import EVERYBODY
from services.reward.learning.people import (
    Embedding,
    LearnPeople,
    LearntPeople,
    Probabilities,
    Speaker,
    preferences,
)
from services.reward.people.domain import LEAST_JUDGEMENTS, Learnt
from shared.configuration.settings import CommonSettings
from shared.encoding.sentences import SentenceEncoder
from shared.language.splits import fold, is_held_out
from shared.statistics.intervals import rate
from tests.unit.reward.judged_people import (
    BRIEF,
    LISTS,
    THOROUGH,
    Said,
    of_patience,
    people,
    talk,
)

TENANT, FOLDS, USERS = "local", 5, 300


@dataclass(frozen=True, slots=True)
class Population:
    """`shares` of the users have each wish; `patience` least and most, or all the same; `asked`: how many
    answers each judges; `stating`: the share of complaints about a missed wish that say what is asked for."""

    shares: Mapping[str, float]
    patience: tuple[float, float] | None = None
    asked: tuple[int, int] = (3, 10)
    stating: float = 0.0


# Of 344 complaints that mining finds in real chats with language models, wishes.py reads a wish in 20%.
STATING = {"with_words": 0.2, "with_more_words": 0.5}
SHARES = {
    "80_20": {BRIEF: 0.8, THOROUGH: 0.2},
    "60_30_10": {BRIEF: 0.6, LISTS: 0.3, THOROUGH: 0.1},
    "95_5": {BRIEF: 0.95, THOROUGH: 0.05},
    "one": {BRIEF: 1.0},
}
POPULATIONS = {
    **{name: Population(shares) for name, shares in SHARES.items()},
    "60_30_10_who_said_more": Population(SHARES["60_30_10"], asked=(8, 15)),
    "one_patient_or_not": Population(SHARES["one"], (0.05, 0.7)),
    **{
        f"{name}_{words}": Population(shares, stating=stating)
        for name, shares in SHARES.items()
        for words, stating in STATING.items()
    },
}


@dataclass(frozen=True, slots=True)
class Found:
    """`groups` that were found; of each user whether they are in the right one (`right`), and in none."""

    groups: int
    right: Mapping[str, bool]
    unknown: int


class Embedded(Embedding):
    """The service's encoder, in the precision that learning uses."""

    def __init__(self) -> None:
        self._encoder = SentenceEncoder(CommonSettings().encoder, max_tokens=128, cached=20_000)

    def embed(self, texts: list[str]) -> NDArray[np.float64]:  # type: ignore[override]
        return self._encoder.embed(texts).astype(np.float64)


def figures(name: str, seeds: int, embedding: Embedding) -> dict[str, object]:
    found = [look(POPULATIONS[name], seed, embedding) for seed in range(1, seeds + 1)]
    groups = [one.groups for one in found]
    whole: dict[str, object] = {
        "name": f"people.groups.{name}",
        "groups": groups,
        "seeds": seeds,
        "users": USERS,
    }
    if len(POPULATIONS[name].shares) == 1:
        return {**whole, "value": groups.count(1) / seeds, "unit": "share of seeds with one group"}
    of_users = [
        (f"{seed}/{user}", right)
        for seed, one in enumerate(found)
        for user, right in one.right.items()
    ]
    share = rate([float(right) for _, right in of_users], [user for user, _ in of_users])
    return {
        **whole,
        "value": round(share.value, 4),
        "unit": "share of users in the right group",
        "low": round(share.low, 4),
        "high": round(share.high, 4),
        "judging_users": share.count,
        "unknown": round(sum(one.unknown for one in found) / share.count, 4),
        "by_wish": _by_wish(found),
    }


def look(population: Population, seed: int, embedding: Embedding) -> Found:
    persons = people(population.shares, USERS, seed)
    if population.patience:
        persons = of_patience(persons, seed, *population.patience)
    said = talk(persons, seed, population.asked, stating=population.stating)
    learnt = LearnPeople(embedding)(
        [one for one in said.pairs if not is_held_out(TENANT, one.user_id)],
        [one for one in said.judged if not is_held_out(TENANT, one.user_id)],
        lambda user: fold(TENANT, user, FOLDS),
        FOLDS,
        said.groups_of,
    )
    if learnt is None or learnt.belonging is None:
        judged = Counter(one.user_id for one in said.judged)
        # Undivided: nobody is in the group of those who share their wish.
        return Found(1, {user: False for user, n in judged.items() if n >= LEAST_JUDGEMENTS}, 0)
    wish_of = _wishes(learnt, said)
    groups = {user: one.group for user, one in _memberships(learnt, said, embedding).items()}
    right = {user: wish_of.get(group) == said.wish_of[user] for user, group in groups.items()}
    return Found(len(wish_of), right, sum(group not in wish_of for group in groups.values()))


def _wishes(learnt: LearntPeople, said: Said) -> dict[str, str]:
    """Of each group, what most of the users whom it was learnt from wish."""
    found: dict[str, str] = {}
    for number, group in enumerate(learnt.tastes.groups):
        wishes = [said.wish_of[user] for user, one in learnt.members.items() if one == number]
        found[group.name] = Counter(wishes).most_common(1)[0][0]
    return found


def _memberships(learnt: LearntPeople, said: Said, embedding: Embedding) -> dict[str, Learnt]:
    """Of those who judged enough."""
    assert learnt.belonging is not None
    judged = Counter(one.user_id for one in said.judged)
    users = [user for user in said.wish_of if judged[user] >= LEAST_JUDGEMENTS]
    speakers = [
        Speaker(
            preferences(
                [one for one in said.pairs if one.user_id == user],
                [one for one in said.judged if one.user_id == user],
            ),
            EVERYBODY if is_held_out(TENANT, user) else fold(TENANT, user, FOLDS),
            statements(said.groups_of.get(user, ())),
        )
        for user in users
    ]
    found = Probabilities(embedding)(learnt.tastes, learnt.belonging, speakers)
    return {
        user: Learnt(by_group, len(speaker.preferences))
        for user, by_group, speaker in zip(users, found, speakers, strict=True)
    }


def _by_wish(found: list[Found]) -> dict[str, float]:
    right = [(user.split("-")[0], one) for seed in found for user, one in seed.right.items()]
    return {
        wish: round(sum(one for w, one in right if w == wish) / sum(w == wish for w, _ in right), 4)
        for wish in sorted({w for w, _ in right})
    }


def measure(seeds: int) -> None:
    embedding = Embedded()
    for name in POPULATIONS:
        print(json.dumps(figures(name, seeds, embedding)), flush=True)
