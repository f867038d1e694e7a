"""What `trimtab retrain preview` says of a snapshot: from whose pairs it is, and how many are replayed."""

from typing import Any

SNAPSHOT = {
    "digest": "d" * 64,
    "train_pairs": 119,
    "train_users": 33,
    "held_out_pairs": 31,
    "largest_user_share": 0.125,
    "smallest_user_share": 0.0084,
    "replayed_pairs": 12,
    "praised_answers": 24,
    "praising_users": 21,
    "pairs_by_source": {"edit": 19, "import": 100},
    "users_by_source": {"edit": 8},
    "users_by_wish": {"wants.length=shorter": 20, "wants.form=list": 9},
}


def test_a_snapshot_says_from_whose_pairs_it_is(trimtab: Any) -> None:
    shown = trimtab("retrain", "preview", answers={"PreviewSnapshot": {"snapshot": SNAPSHOT}})
    text = " ".join(shown.out.split())
    assert "the largest user's share is 12%, the smallest's 0.8%" in text
    assert "replayed: 12 pairs of before the last snapshot" in text
    assert "to be kept: 24 answers that 21 users praised" in text
    assert "by source: edit 19 pairs of 8 users, import 100 pairs" in text
    assert "they ask for: wants.form=list 9 users, wants.length=shorter 20 users" in text


def test_a_snapshot_of_before_says_what_it_knows(trimtab: Any) -> None:
    former = {name: SNAPSHOT[name] for name in ("digest", "train_pairs", "largest_user_share")}
    shown = trimtab("retrain", "preview", answers={"PreviewSnapshot": {"snapshot": former}})
    assert "smallest" not in shown.out
    assert "replayed" not in shown.out
    assert "to be kept" not in shown.out
    assert "ask for" not in shown.out
