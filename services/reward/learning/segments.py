"""Rewards of segments, declared or of wishes: what the users of each would have, by what they said.

Unlike learnt groups (groups.py) nobody is sorted here: a team, or the user, says who is in one. Each reward is
a Bradley-Terry reward of the segment's own rows, of compared pairs and judged answers, on the same features as
groups' rewards; every user speaks with one voice. A segment's reward does not know whether its users agree
with each other: if they do not, it is the reward of their majority. Those who are in none of the told segments
are EVERYONE_ELSE and have one, too: who is content and says nothing of wishes is among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from services.reward.domain import Judgement, Pair
from services.reward.learning.fitting import (
    LEAST_PAIRS,
    TASTE_L2,
    GroupReward,
    Model,
    Options,
    learn,
)
from services.reward.learning.groups import LEAST_USERS, even_weights
from services.reward.learning.lines import Preference
from services.reward.learning.people import Embedding, blocks_of, preferences
from services.reward.learning.table import Extractor, Table, build
from shared.language.groups import EVERYONE_ELSE, MOST_TOLD_SEGMENTS, is_segment, is_wish

_OPTIONS = Options(members=0)
LEAST_WISHERS = 10


class LearnSegments:
    def __init__(self, embedding: Embedding) -> None:
        self._blocks = blocks_of(embedding)

    def __call__(
        self,
        pairs: Sequence[Pair],
        judgements: Sequence[Judgement],
        groups_of: Mapping[str, Sequence[str]],
    ) -> Model | None:
        """The rewards of the segments among the users' groups; None if there are none."""
        segments_of = {
            user: [name for name in groups if is_segment(name)]
            for user, groups in groups_of.items()
        }
        return fit_segments(preferences(pairs, judgements), segments_of, self._blocks)


def fit_segments(
    said: Sequence[Preference],
    segments_of: Mapping[str, Sequence[str]],
    blocks: Sequence[Extractor],
) -> Model | None:
    """The rewards of the largest MOST_TOLD_SEGMENTS segments among those that `told_apart` names; None if there
    are none. `segments_of` has the names of each user's segments."""
    names = told_apart(said, segments_of)
    if not names:
        return None
    told = {
        user: [one for one in segments_of.get(user, ()) if one in names] for user in _users(said)
    }
    others = {user: (EVERYONE_ELSE,) for user, segments in told.items() if not segments}
    table = build(blocks, said, lambda _: None)
    everyone = np.ones(len(said), dtype=bool)
    weights = even_weights(table.users)
    groups = [_of_segment(table, name, told) for name in names]
    if told_apart(said, others):
        groups.append(_of_segment(table, EVERYONE_ELSE, others))
    return Model(
        extractors=tuple(one.name for one in blocks),
        scaling=table.scaling,
        reward=learn(table, everyone, weights, TASTE_L2, _OPTIONS),
        members=(),
        temperature=1.0,
        groups=tuple(groups),
    )


def told_apart(
    said: Sequence[Preference], segments_of: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    """Segments, largest first, whose users said enough for a reward of their own: LEAST_USERS of them (of those
    by wishes, which words alone make, LEAST_WISHERS) with LEAST_PAIRS rows. LEAST_USERS must be in none of it:
    otherwise it is everyone."""
    speakers = _users(said)
    users: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    for user, count in speakers.items():
        for name in segments_of.get(user, ()):
            users[name] += 1
            rows[name] += count
    enough = [
        name
        for name in users
        if _least(name) <= users[name] <= len(speakers) - LEAST_USERS and rows[name] >= LEAST_PAIRS
    ]
    return tuple(sorted(enough, key=lambda name: (-users[name], name))[:MOST_TOLD_SEGMENTS])


def _least(name: str) -> int:
    return LEAST_WISHERS if is_wish(name) else LEAST_USERS


def _users(said: Sequence[Preference]) -> Counter[str]:
    """How much each has said."""
    return Counter(one.user for one in said if one.user)


def _of_segment(table: Table, name: str, segments_of: Mapping[str, Sequence[str]]) -> GroupReward:
    inside = np.array([name in segments_of.get(user, ()) for user in table.names] + [False])
    rows = inside[table.users]
    reward = learn(table, rows, even_weights(table.users), TASTE_L2, _OPTIONS)
    return GroupReward(name, reward, int(inside.sum()), int(rows.sum()), ())
