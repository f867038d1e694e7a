"""What is selected, and that the same content has the same address."""

import json
import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.retrain.adapters.snapshots import ParquetSnapshots, read_pairs
from services.retrain.domain import Caps, describe, digest_of, has_persona, select
from shared.messages import text_message
from tests.unit.retrain.pairs import HELD_OUT, START, TRAINED, many, pair


def test_users_are_in_one_part_only_and_the_newest_are_kept():
    selection = select(many(30, 20), {}, Caps(train_pairs=10, held_out_pairs=5))
    assert [p.pair_id for p in selection.train] == [f"p{n:03}" for n in range(20, 30)]
    assert {p.user_id for p in selection.train} <= set(TRAINED)
    assert len(selection.held_out) == 5
    assert {p.user_id for p in selection.held_out} <= set(HELD_OUT)


def test_a_loud_user_is_capped():
    loud = [pair(n, TRAINED[0]) for n in range(50)]
    selection = select([*loud, pair(99, TRAINED[1])], {}, Caps(pairs_per_user=3))
    assert [p.pair_id for p in selection.train] == ["p047", "p048", "p049", "p099"]
    snapshot = describe(selection, "")
    assert (snapshot.train_users, snapshot.largest_user_share) == (2, 0.75)


def test_pairs_that_teach_nothing_are_left_out():
    same = pair(1, TRAINED[0], rejected=text_message("assistant", " Short answer 1. "))
    empty = pair(2, TRAINED[0], chosen=text_message("assistant", " "))
    assert select([same, empty, pair(3, TRAINED[0], prompt=())], {}, Caps()).train == ()


def test_a_user_persona_fills_what_the_pair_lacks():
    own = pair(2, TRAINED[1], persona="Its own.")
    personas = {f"local/{TRAINED[0]}": "Likes it short.", f"local/{TRAINED[1]}": "Another."}
    selection = select([pair(1, TRAINED[0]), own], personas, Caps())
    assert [p.persona for p in selection.train] == ["Likes it short.", "Its own."]


def test_a_deleted_persona_is_trained_on_no_more():
    pairs = [pair(1, TRAINED[0], persona="Its own."), pair(2, TRAINED[1], persona="Another.")]
    selection = select(pairs, {f"local/{TRAINED[0]}": ""}, Caps())
    assert [p.persona for p in selection.train] == ["", "Another."]


def test_personas_stand_in_about_half_of_the_prompts_always_the_same():
    chosen = [has_persona(pair(n, TRAINED[0], persona="x"), 0.5, seed=0) for n in range(400)]
    assert 160 < sum(chosen) < 240
    assert chosen == [
        has_persona(pair(n, TRAINED[0], persona="x"), 0.5, seed=0) for n in range(400)
    ]
    assert not has_persona(pair(1, TRAINED[0]), 1.0, seed=0)


def test_the_digest_does_not_depend_on_order_and_does_on_content():
    pairs = many(12, 4)
    shuffled = random.Random(1).sample(pairs, len(pairs))
    digest = digest_of(select(pairs, {}, Caps()))
    assert digest == digest_of(select(shuffled, {}, Caps()))
    changed = [replace(pairs[0], chosen=text_message("assistant", "Other.")), *pairs[1:]]
    assert digest != digest_of(select(changed, {}, Caps()))
    moved = select(pairs, {}, Caps(held_out_pairs=3))
    assert digest != digest_of(moved)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_snapshot_is_read_back_as_it_was_kept(tmp_path: Path, scheme: str):
    selection = select(many(12, 4), {f"local/{TRAINED[3]}": "Brief."}, Caps())
    snapshots = ParquetSnapshots(f"{scheme}{tmp_path}/snapshots")
    snapshot = snapshots.keep(selection)
    assert snapshots.keep(selection) == snapshot
    assert tuple(read_pairs(snapshot.uri, "train")) == selection.train
    assert tuple(snapshots.held_out(snapshot)) == selection.held_out
    sheet = json.loads((tmp_path / "snapshots" / snapshot.digest / "datasheet.json").read_text())
    assert (sheet["train_pairs"], sheet["held_out_pairs"], sheet["train_users"]) == (12, 4, 12)
    assert sheet["pairs_by_source"] == {"user_guided_rewrite": 12}


def test_a_half_written_snapshot_is_written_again(tmp_path: Path):
    selection = select(many(5, 1), {}, Caps())
    folder = tmp_path / digest_of(selection)
    folder.mkdir()
    (folder / "train.parquet").write_bytes(b"half of a fi")
    snapshot = ParquetSnapshots(str(tmp_path)).keep(selection)
    assert tuple(read_pairs(snapshot.uri, "train")) == selection.train


def test_what_people_wanted_long_ago_is_left_out() -> None:
    old = pair(1, TRAINED[0], create_time=START - timedelta(days=91))
    recent = pair(2, TRAINED[0], create_time=START - timedelta(days=89))
    newest = pair(3, TRAINED[1], create_time=START)
    assert select([old, recent, newest], {}, Caps()).train == (recent, newest)
    assert select([old, recent], {}, Caps()).train == (old, recent)
