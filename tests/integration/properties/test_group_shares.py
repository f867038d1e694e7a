"""A majority's pairs do not crowd out a minority's: each learnt group has its share of the room first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from services.retrain.adapters.snapshots import ParquetSnapshots, read_pairs
from services.retrain.codec import encode_snapshot
from services.retrain.domain.datasheet import describe
from services.retrain.domain.duplicates import Likeness, jaccard, shingles
from services.retrain.domain.selection import Caps, select, verdicts
from services.retrain.domain.snapshots import digest_of, source_of
from shared.language.pairs import Pair, PairSource
from tests.unit.retrain.pairs import HELD_OUT, START, TRAINED, many, pair

MANY, FEW = ("shorter",), ("longer",)
ROOMS = ("PART_IS_FULL", "SOURCE_CAP", "DAY_CAP")


def crowd(few: int, majority: int, people: Sequence[str] = TRAINED) -> list[Pair]:
    """The few said theirs long before the many: each pair of a user of their own."""
    old = [pair(n, people[n], groups=FEW) for n in range(few)]
    new = [pair(200 + n, people[few + n], groups=MANY) for n in range(majority)]
    return [*old, *new]


def by_group(pairs: Sequence[Pair]) -> dict[str, int]:
    return dict(Counter(one.groups[0] if one.groups else "" for one in pairs))


def test_the_few_keep_what_they_have_up_to_their_share() -> None:
    caps = Caps(train_pairs=10)
    selection = select(crowd(3, 12), {}, caps)
    assert by_group(selection.train) == {"longer": 3, "shorter": 7}
    # Ten of the many would be in by age: three gave way, two were too many in any case.
    assert selection.left_out == {"GROUP_SHARE": 3, "PART_IS_FULL": 2}
    newest = [one.pair_id for one in selection.train if one.groups == MANY]
    assert newest == [f"p{n}" for n in range(205, 212)]
    selection = select(crowd(8, 12), {}, caps)
    assert by_group(selection.train) == {"longer": 5, "shorter": 5}
    assert [one.pair_id for one in selection.train[:5]] == [f"p{n:03}" for n in range(3, 8)]
    assert selection.left_out == {"GROUP_SHARE": 5, "PART_IS_FULL": 5}


def test_held_out_pairs_are_shared_in_the_same_way() -> None:
    selection = select(crowd(4, 9, HELD_OUT), {}, Caps(held_out_pairs=6))
    assert (by_group(selection.held_out), selection.train) == ({"longer": 3, "shorter": 3}, ())


def test_where_there_is_room_for_all_groups_change_nothing() -> None:
    pairs = crowd(3, 7)
    bare = [pair(int(one.pair_id[1:]), one.user_id) for one in pairs]
    told, plain = verdicts(pairs, Caps(train_pairs=10)), verdicts(bare, Caps(train_pairs=10))
    assert [found for _, found in told] == [found for _, found in plain] == ["train"] * 10


def test_those_of_whom_little_is_known_are_a_group_and_segments_are_none() -> None:
    """Stamped as unknown, or made before there were groups: one group."""
    unknown = [pair(n, TRAINED[n], groups=("unknown",)) for n in range(2)]
    before = [pair(2 + n, TRAINED[2 + n]) for n in range(2)]
    declared = ("shorter", "team=sales")
    rest = [pair(200 + n, TRAINED[10 + n], groups=declared) for n in range(10)]
    selection = select([*unknown, *before, *rest], {}, Caps(train_pairs=6))
    assert by_group(selection.train) == {"unknown": 1, "": 2, "shorter": 3}
    # Only segments: nobody is in a learnt group, so the newest are taken.
    teams = [pair(n, TRAINED[n], groups=(f"team={'a' if n < 5 else 'b'}",)) for n in range(10)]
    selection = select(teams, {}, Caps(train_pairs=5))
    assert by_group(selection.train) == {"team=b": 5}
    assert selection.left_out == {"PART_IS_FULL": 5}


def test_days_and_sources_are_shared_too() -> None:
    """The many fill a day, or what a source may fill, by themselves."""
    selection = select(crowd(4, 12), {}, Caps(pairs_per_day=10))
    assert by_group(selection.train) == {"longer": 4, "shorter": 6}
    assert selection.left_out == {"GROUP_SHARE": 4, "DAY_CAP": 2}
    votes = [
        pair(int(one.pair_id[1:]), one.user_id, groups=one.groups, source=PairSource.IMPORT)
        for one in crowd(4, 12)
    ]
    caps = Caps(train_pairs=20, source_shares={"import": 0.3})
    selection = select(votes, {}, caps)
    assert by_group(selection.train) == {"longer": 3, "shorter": 3}
    assert selection.left_out == {"GROUP_SHARE": 3, "SOURCE_CAP": 7}


def test_a_loud_user_of_a_small_group_is_capped_like_any_other() -> None:
    loud = [pair(n, TRAINED[0], groups=FEW) for n in range(10)]
    rest = [pair(200 + n, TRAINED[1 + n], groups=MANY) for n in range(18)]
    caps = Caps(train_pairs=12, pairs_per_user=4, user_share=0.25)
    selection = select([*loud, *rest], {}, caps)
    assert by_group(selection.train) == {"longer": 3, "shorter": 9}
    assert describe(selection, "").largest_user_share == 0.25
    # Twelve of the many would be in without groups; when it is her turn for more, the part is full.
    assert selection.left_out == {"GROUP_SHARE": 3, "PART_IS_FULL": 13}
    roomy = select([*loud, *rest], {}, replace(caps, train_pairs=24))
    assert by_group(roomy.train) == {"longer": 4, "shorter": 18}
    assert roomy.left_out == {"USER_CAP": 6}


def test_more_groups_than_room_guarantee_nothing() -> None:
    pairs = [pair(n, TRAINED[n], groups=(f"g{n}",)) for n in range(5)]
    selection = select(pairs, {}, Caps(train_pairs=3))
    assert [one.pair_id for one in selection.train] == ["p002", "p003", "p004"]
    assert selection.left_out == {"PART_IS_FULL": 2}


def test_pairs_and_users_are_counted_by_group() -> None:
    pairs = [
        pair(1, TRAINED[0], groups=("shorter", "team=sales")),
        pair(2, TRAINED[0], groups=("shorter", "team=sales")),
        pair(3, TRAINED[1], groups=("unknown", "team=sales")),
        pair(4, TRAINED[2]),
        pair(5, HELD_OUT[0], groups=("longer",)),
    ]
    snapshot = describe(select(pairs, {}, Caps(user_share=1.0)), "")
    assert snapshot.pairs_by_group == {"shorter": 2, "team=sales": 3, "unknown": 1}
    assert snapshot.users_by_group == {"shorter": 1, "team=sales": 2, "unknown": 1}
    told = encode_snapshot(snapshot)
    assert dict(told.pairs_by_group) == {"shorter": 2, "team=sales": 3, "unknown": 1}
    assert dict(told.users_by_group) == {"shorter": 1, "team=sales": 2, "unknown": 1}


def test_a_pair_keeps_its_groups_through_the_file(tmp_path: Path) -> None:
    pairs = [pair(1, TRAINED[0], groups=("shorter", "team=sales")), pair(2, TRAINED[1])]
    selection = select([*pairs, pair(3, HELD_OUT[0], groups=FEW)], {}, Caps())
    snapshot = ParquetSnapshots(str(tmp_path)).keep(selection)
    assert [one.groups for one in read_pairs(snapshot.uri, "train")] == [
        ("shorter", "team=sales"),
        (),
    ]
    assert read_pairs(snapshot.uri, "held_out") == list(selection.held_out)
    sheet = json.loads((tmp_path / snapshot.digest / "datasheet.json").read_text())
    assert sheet["pairs_by_group"] == {"shorter": 1, "team=sales": 1}
    assert sheet["users_by_group"] == {"shorter": 1, "team=sales": 1}


def test_a_snapshot_of_before_is_read_and_keeps_its_address(tmp_path: Path) -> None:
    selection = select(many(3, 1), {}, Caps())
    # As it was before pairs had groups: their rows are hashed as they were.
    assert digest_of(selection).startswith("316ae4fcad8af4aa")
    snapshot = ParquetSnapshots(str(tmp_path)).keep(selection)
    file = tmp_path / snapshot.digest / "train.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["groups"]), file)
    assert tuple(read_pairs(snapshot.uri, "train")) == selection.train
    stamped = select([pair(n, TRAINED[n], groups=FEW) for n in range(3)], {}, Caps())
    assert digest_of(stamped) != digest_of(
        select([pair(n, TRAINED[n]) for n in range(3)], {}, Caps())
    )


def in_two_rounds(pairs: Sequence[Pair], caps: Caps) -> list[tuple[Pair, str]]:
    """The same written plainly, for one number of pairs that a user may have."""
    newest = sorted(pairs, key=lambda one: (one.time, one.pair_id), reverse=True)
    plain = _rounds(newest, caps, fair=False)
    if not any(one.groups for one in pairs):
        return plain
    return [
        (one, "GROUP_SHARE" if found in ROOMS and without in ("train", "held_out") else found)
        for (one, found), (_, without) in zip(_rounds(newest, caps, fair=True), plain, strict=True)
    ]


def _rounds(newest: Sequence[Pair], caps: Caps, *, fair: bool) -> list[tuple[Pair, str]]:
    oldest: datetime = newest[0].time - timedelta(days=caps.max_age_days) if newest else START
    candidates = [one for one in newest if one.time >= oldest]
    groups = {
        part: {_group(one) for one in candidates if _part(one) == part}
        for part in ("train", "held_out")
    }
    taken: Counter[tuple[str, ...]] = Counter()
    found = {one.pair_id: "TOO_OLD" for one in newest}
    for part in ("held_out", "train"):
        for first in (True, False) if fair else (False,):
            for one in (one for one in candidates if _part(one) == part):
                bounds = _bounds(one, part, caps)
                if first:
                    bounds += [
                        ((*key, _group(one)), bound // len(groups[part]), "")
                        for key, bound, _ in bounds[:3]
                    ]
                reached = next(
                    (name or "-" for key, bound, name in bounds if taken[key] >= bound), ""
                )
                if found[one.pair_id] != part:
                    told = (other for other in newest if found[other.pair_id] == _part(other))
                    reason = reached or beside(one, told, caps.likeness)
                    found[one.pair_id] = reason or part
                    if not reason:
                        taken.update(key for key, _, _ in bounds)
    return [(one, found[one.pair_id]) for one in newest]


def beside(one: Pair, told: Iterable[Pair], likeness: Likeness) -> str:
    """Why a pair is left out beside those that are in, by comparing it with each."""
    text = shingles(one)
    reasons = {likeness.reason(one, other, jaccard(text, shingles(other))) for other in told}
    return min(reasons - {""}, default="")


def _bounds(one: Pair, part: str, caps: Caps) -> list[tuple[tuple[str, ...], float, str]]:
    room = caps.held_out_pairs if part == "held_out" else caps.train_pairs
    day, source = one.time.date().isoformat(), source_of(one)
    return [
        ((part,), room, "PART_IS_FULL"),
        ((part, "source", source), room * caps.source_shares.get(source, 1.0), "SOURCE_CAP"),
        ((part, "day", day), caps.pairs_per_day, "DAY_CAP"),
        (("user", one.user), caps.pairs_per_user, "USER_CAP"),
        (("user", one.user, day), caps.pairs_per_user_day, "USER_DAY_CAP"),
    ]


def _part(one: Pair) -> str:
    return "held_out" if one.is_held_out else "train"


def _group(one: Pair) -> str:
    return one.groups[0] if one.groups else "unknown"


PEOPLE = (*TRAINED[:6], *HELD_OUT[:2])
drawn_pairs = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE),
        st.integers(0, 12),
        st.sampled_from([PairSource.EDIT, PairSource.IMPORT]),
        st.sampled_from([(), ("unknown",), ("shorter",), ("longer",), ("lists",)]),
    ),
    max_size=60,
)
drawn_caps = st.builds(
    Caps,
    train_pairs=st.integers(0, 30),
    held_out_pairs=st.integers(0, 10),
    pairs_per_user=st.integers(1, 12),
    max_age_days=st.sampled_from([2.0, 90.0]),
    pairs_per_user_day=st.integers(1, 6),
    pairs_per_day=st.integers(1, 20),
    user_share=st.just(1.0),
    source_shares=st.sampled_from([{}, {"import": 0.3}]),
)


@settings(max_examples=300)
@given(drawn_pairs, drawn_caps)
def test_all_at_once_is_as_two_rounds(
    drawn: list[tuple[str, int, PairSource, tuple[str, ...]]], caps: Caps
) -> None:
    pairs = [
        pair(
            n,
            user,
            source=source,
            groups=groups,
            create_time=START - timedelta(hours=9 * hours),
        )
        for n, (user, hours, source, groups) in enumerate(drawn)
    ]
    assert verdicts(pairs, caps) == in_two_rounds(pairs, caps)


@settings(max_examples=200)
@given(drawn_pairs, st.integers(0, 40))
def test_no_group_has_less_than_its_share_of_the_room(
    drawn: list[tuple[str, int, PairSource, tuple[str, ...]]], room: int
) -> None:
    pairs = [
        pair(n, TRAINED[n], source=source, groups=groups or ("unknown",))
        for n, (_, _, source, groups) in enumerate(drawn)
    ]
    caps = Caps(train_pairs=room)
    had, got = Counter(map(_group, pairs)), Counter(map(_group, select(pairs, {}, caps).train))
    for group, count in had.items():
        assert got[group] >= min(count, room // len(had))
    assert got.total() == min(len(pairs), room, caps.pairs_per_day)
