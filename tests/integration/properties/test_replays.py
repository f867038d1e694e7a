"""Replays take nothing from a group of people, and change nothing as long as there is room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from services.retrain.domain.selection import Caps, choices, select
from shared.language.groups import UNKNOWN
from shared.language.pairs import Pair
from tests.unit.retrain.pairs import TRAINED, pair

drawn_pairs = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.sampled_from([(), ("unknown",), ("shorter",), ("longer",), ("lists",)]),
    ),
    max_size=60,
)
shares = st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0])
UNTIL = pair(30, TRAINED[0]).time


def pairs_of(drawn: Sequence[tuple[int, tuple[str, ...]]]) -> list[Pair]:
    """A pair a second, of some users two or more."""
    return [pair(n, TRAINED[user], groups=groups) for n, (user, groups) in enumerate(drawn)]


@tried(max_examples=200)
@given(drawn_pairs, st.integers(0, 40), shares)
def test_no_group_loses_by_replays(
    drawn: list[tuple[int, tuple[str, ...]]], room: int, share: float
) -> None:
    pairs = pairs_of([(n, groups) for n, (_, groups) in enumerate(drawn)])
    caps = Caps(train_pairs=room, replay_share=share)
    selection = select(pairs, {}, caps, until=UNTIL)
    assert len(selection.train) == min(len(pairs), room)
    assert selection.replayed <= share * room
    had, got = Counter(map(_group, pairs)), Counter(map(_group, selection.train))
    for group, count in had.items():
        assert got[group] >= min(count, room // len(had))


@tried(max_examples=200)
@given(drawn_pairs, st.integers(0, 40), shares)
def test_who_has_spoken_since_is_not_replayed_and_room_for_all_changes_nothing(
    drawn: list[tuple[int, tuple[str, ...]]], room: int, share: float
) -> None:
    pairs = pairs_of(drawn)
    caps = Caps(train_pairs=room, replay_share=share)
    found = choices(pairs, caps, until=UNTIL)
    since = {one.user for one in pairs if one.time >= UNTIL}
    replayed = [one for one in found if one.is_replayed]
    assert all(one.verdict == "train" and one.pair.time < UNTIL for one in replayed)
    assert not {one.pair.user for one in replayed} & since
    assert sum(one.is_replayed for one in found) <= share * room
    plain = choices(pairs, caps)
    # A pair that found no room because of the groups' shares says so instead.
    if not {"PART_IS_FULL", "GROUP_SHARE"} & {one.verdict for one in plain}:
        assert found == plain
    assert [one.pair for one in found] == [one.pair for one in plain]


def _group(one: Pair) -> str:
    return one.groups[0] if one.groups else UNKNOWN
