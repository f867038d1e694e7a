"""Pairs of before are trained on again, so that what was learnt long ago is not forgotten for what is new."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shared.language.pairs import Pair


def to_replay(pairs: Sequence[Pair], until: datetime, stretches: int) -> list[int]:
    """The indices of the older pairs to train on, the first to replay first; `pairs` are newest first. Of no
    user who has said something since: what they wanted before may be what they want no more, and training on
    both would teach neither.

    Evenly over their time, which is cut into `stretches` equal ones: the newest pair of each, from the newest
    stretch to the oldest, then the second newest of each, and so on."""
    spoke_since = {pair.user for pair in pairs if pair.time >= until}
    old = [
        index
        for index, pair in enumerate(pairs)
        if pair.time < until and pair.user not in spoke_since and not pair.is_held_out
    ]
    if not old or not stretches:
        return []
    newest, oldest = pairs[old[0]].time, pairs[old[-1]].time
    length = (newest - oldest) / stretches
    passed = [0] * stretches
    order = []
    for index in old:
        age = newest - pairs[index].time
        stretch = min(int(age / length), stretches - 1) if length else 0
        order.append((passed[stretch], stretch, index))
        passed[stretch] += 1
    return [index for _, _, index in sorted(order)]
