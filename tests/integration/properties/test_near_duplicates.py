"""What the index of shingles leaves out is what comparing each pair with every other one leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.retrain.domain.duplicates import Likeness
from services.retrain.domain.selection import Caps, verdicts
from shared.language.messages import text_message
from shared.language.pairs import Pair
from tests.integration.properties.test_group_shares import in_two_rounds
from tests.unit.retrain.pairs import HELD_OUT, START, TRAINED, pair

PEOPLE = (*TRAINED[:5], *HELD_OUT[:2])
drawn_pairs = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE),
        st.integers(0, 6),
        st.sampled_from(["one", "two"]),
        st.integers(0, 8),
        st.booleans(),
        st.sampled_from([(), ("unknown",), ("shorter",), ("longer",), ("longer", "team=a")]),
    ),
    max_size=40,
)
drawn_caps = st.builds(
    Caps,
    train_pairs=st.integers(0, 20),
    held_out_pairs=st.integers(0, 6),
    pairs_per_user=st.integers(1, 8),
    pairs_per_user_day=st.integers(1, 4),
    pairs_per_day=st.integers(1, 12),
    user_share=st.just(1.0),
    likeness=st.builds(
        Likeness,
        of_user=st.sampled_from([0.5, 0.8, 1.0]),
        of_others=st.sampled_from([0.8, 0.95, 1.01]),
        of_held_out=st.sampled_from([0.6, 0.95, 1.01]),
    ),
)
Drawn = Sequence[tuple[str, int, str, int, bool, tuple[str, ...]]]


def pairs_of(drawn: Drawn) -> list[Pair]:
    """Of two requests; answers of eight words of which one may be changed; either may be the better one."""
    pairs = []
    for number, (user, days, topic, place, is_turned, groups) in enumerate(drawn):
        words = [f"{topic}{n}" if n != place else "changed" for n in range(8)]
        answers = [text_message("assistant", " ".join(words)), text_message("assistant", topic * 3)]
        chosen, rejected = reversed(answers) if is_turned else answers
        pairs.append(
            pair(
                number,
                user,
                prompt=(text_message("user", f"What about {topic}?"),),
                chosen=chosen,
                rejected=rejected,
                groups=groups,
                create_time=START - timedelta(days=days),
            )
        )
    return pairs


@settings(max_examples=300)
@given(drawn_pairs, drawn_caps)
def test_the_index_leaves_out_what_comparing_all_does(drawn: Drawn, caps: Caps) -> None:
    pairs = pairs_of(drawn)
    assert verdicts(pairs, caps) == in_two_rounds(pairs, caps)
