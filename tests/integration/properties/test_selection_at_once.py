"""All numbers of pairs that a user may have are tried in one pass: as trying one after the other did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.retrain.domain.selection import Caps, verdicts
from services.retrain.domain.snapshots import source_of
from shared.language.messages import text_message
from shared.language.pairs import Pair, PairSource
from tests.unit.retrain.pairs import HELD_OUT, START, TRAINED, pair

PEOPLE = (*TRAINED[:4], *HELD_OUT[:2])


def one_after_the_other(pairs: Sequence[Pair], caps: Caps) -> list[tuple[Pair, str]]:
    """As it was written first, in up to `pairs_per_user` passes."""
    newest = sorted(pairs, key=lambda one: (one.time, one.pair_id), reverse=True)
    for most in range(max(caps.pairs_per_user, 1), 1, -1):
        found = _one_pass(newest, caps, most)
        users = Counter(one.user for one, verdict in found if verdict == "train")
        if max(users.values(), default=0) / max(users.total(), 1) <= caps.user_share:
            return found
    return _one_pass(newest, caps, 1)


def _one_pass(newest: Sequence[Pair], caps: Caps, most: int) -> list[tuple[Pair, str]]:
    found: list[tuple[Pair, str]] = []
    oldest: datetime | None = None
    taken: Counter[tuple[str, ...]] = Counter()
    for one in newest:
        part = "held_out" if one.is_held_out else "train"
        verdict = part
        if not one.chosen.text.strip() or one.chosen.text.strip() == one.rejected.text.strip():
            verdict = "NOTHING_TO_LEARN"
        else:
            oldest = oldest or one.time - timedelta(days=caps.max_age_days)
            bounds = _bounds(one, part, caps, most)
            if one.time < oldest:
                verdict = "TOO_OLD"
            else:
                verdict = next((name for key, bound, name in bounds if taken[key] >= bound), part)
        if verdict == part:
            taken.update(key for key, _, _ in bounds)
        found.append((one, verdict))
    return found


def _bounds(
    one: Pair, part: str, caps: Caps, most: int
) -> tuple[tuple[tuple[str, ...], float, str], ...]:
    room = caps.held_out_pairs if part == "held_out" else caps.train_pairs
    day, source = one.time.date().isoformat(), source_of(one)
    of_user = caps.pairs_per_user if part == "held_out" else most
    name = "USER_CAP" if of_user == caps.pairs_per_user else "USER_SHARE"
    return (
        ((part,), room, "PART_IS_FULL"),
        ((part, "source", source), room * caps.source_shares.get(source, 1.0), "SOURCE_CAP"),
        ((part, "day", day), caps.pairs_per_day, "DAY_CAP"),
        (("user", one.user), of_user, name),
        (("user", one.user, day), caps.pairs_per_user_day, "USER_DAY_CAP"),
    )


drawn_pairs = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE),
        st.integers(0, 12),
        st.sampled_from([PairSource.EDIT, PairSource.IMPORT]),
        st.sampled_from(["better", "worse"]),
    ),
    max_size=60,
)
drawn_caps = st.builds(
    Caps,
    train_pairs=st.integers(0, 30),
    held_out_pairs=st.integers(0, 10),
    pairs_per_user=st.integers(0, 12),
    max_age_days=st.sampled_from([2.0, 90.0]),
    pairs_per_user_day=st.integers(1, 6),
    pairs_per_day=st.integers(1, 20),
    user_share=st.sampled_from([0.1, 0.2, 0.34, 0.5, 1.0]),
    source_shares=st.sampled_from([{}, {"import": 0.3}]),
)


@settings(max_examples=300)
@given(drawn_pairs, drawn_caps)
def test_one_pass_is_as_many(drawn: list[tuple[str, int, PairSource, str]], caps: Caps) -> None:
    pairs = [
        pair(
            n,
            user,
            source=source,
            create_time=START - timedelta(hours=9 * hours),
            chosen=text_message("assistant", chosen),
            rejected=text_message("assistant", "worse"),
        )
        for n, (user, hours, source, chosen) in enumerate(drawn)
    ]
    assert verdicts(pairs, caps) == one_after_the_other(pairs, caps)
