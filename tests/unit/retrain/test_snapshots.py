"""What is selected, and that the same content has the same address."""

import json
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.retrain.adapters.snapshots import ParquetSnapshots, read_pairs
from services.retrain.domain.datasheet import describe
from services.retrain.domain.selection import Caps, select
from services.retrain.domain.snapshots import Selection, digest_of, row_of
from services.retrain.domain.training import has_persona
from services.retrain.settings import RetrainSettings
from shared.language.messages import Media, Message, Text, ToolCall, ToolResult, text_message
from shared.language.pairs import PairSource, Sampled
from tests.unit.retrain.pairs import HELD_OUT, START, TRAINED, many, pair


def test_users_are_in_one_part_only_and_the_newest_are_kept():
    selection = select(many(30, 20), {}, Caps(train_pairs=10, held_out_pairs=5))
    assert [p.pair_id for p in selection.train] == [f"p{n:03}" for n in range(20, 30)]
    assert {p.user_id for p in selection.train} <= set(TRAINED)
    assert len(selection.held_out) == 5
    assert {p.user_id for p in selection.held_out} <= set(HELD_OUT)


def test_a_loud_user_is_capped():
    loud = [pair(n, TRAINED[0]) for n in range(50)]
    caps = Caps(pairs_per_user=3, user_share=1.0)
    selection = select([*loud, pair(99, TRAINED[1])], {}, caps)
    assert [p.pair_id for p in selection.train] == ["p047", "p048", "p049", "p099"]
    snapshot = describe(selection, "")
    assert (snapshot.train_users, snapshot.largest_user_share) == (2, 0.75)


@pytest.mark.parametrize(
    ("others", "of_loud"),
    # Largest n of 8 with n / (n + others) <= 0.2; one where even that is more.
    [(3, 1), (4, 1), (8, 2), (12, 3), (40, 8)],
)
def test_no_users_share_passes_the_bound(others: int, of_loud: int):
    loud = [pair(n, TRAINED[0]) for n in range(8)]
    rest = [pair(100 + n, TRAINED[1 + n]) for n in range(others)]
    selection = select([*loud, *rest], {}, Caps())
    users = Counter(p.user_id for p in selection.train)
    assert (users[TRAINED[0]], len(users)) == (of_loud, others + 1)
    newest = next(p.pair_id for p in selection.train)
    assert newest == f"p{8 - of_loud:03}"
    left_out = {"USER_SHARE": 8 - of_loud} if of_loud < 8 else {}
    assert describe(selection, "").left_out == left_out


def test_a_share_is_of_what_is_left_after_the_other_caps():
    loud = [pair(n, TRAINED[0]) for n in range(200, 210)]
    rest = [pair(n, TRAINED[1 + n]) for n in range(40)]
    selection = select([*loud, *rest], {}, Caps(train_pairs=10))
    assert Counter(p.user_id for p in selection.train)[TRAINED[0]] == 2
    assert selection.left_out == {"PART_IS_FULL": 32, "USER_SHARE": 8}


def test_days_and_sources_are_capped_each_in_its_part():
    days = [pair(n, TRAINED[n], create_time=START - timedelta(days=n // 4)) for n in range(12)]
    selection = select(days, {}, Caps(pairs_per_day=3))
    assert (len(selection.train), selection.left_out) == (9, {"DAY_CAP": 3})
    twice = [pair(n, TRAINED[n // 2]) for n in range(20)]
    selection = select(twice, {}, Caps(pairs_per_user_day=1))
    assert (len(selection.train), selection.left_out) == (10, {"USER_DAY_CAP": 10})
    votes = [pair(n, TRAINED[n], source=PairSource.ARENA_VOTE) for n in range(9)]
    said = [pair(100 + n, TRAINED[20 + n]) for n in range(4)]
    caps = Caps(train_pairs=10, source_shares={"arena_vote": 0.5})
    selection = select([*votes, *said], {}, caps)
    assert Counter(p.source for p in selection.train) == {"arena_vote": 5, "user_guided_rewrite": 4}
    assert selection.left_out == {"SOURCE_CAP": 4}


def test_a_population_like_the_demos_loses_nothing():
    """Fifty pairs of forty users on one day, some with three."""
    pairs = [pair(n, TRAINED[n % 40 if n < 45 else n % 3]) for n in range(50)]
    selection = select(pairs, {}, RetrainSettings().rules.caps)
    assert (len(selection.train), selection.left_out) == (50, {})


def test_source_shares_are_checked_when_the_service_starts():
    caps = RetrainSettings(max_source_shares="import=0.25").rules.caps
    assert caps.source_shares == {"import": 0.25}
    for wrong in ("imports=0.5", "import=2", "import=some"):
        with pytest.raises(ValueError, match="max_source_shares"):
            RetrainSettings(max_source_shares=wrong)


def test_pairs_that_teach_nothing_are_left_out():
    same = pair(1, TRAINED[0], rejected=text_message("assistant", " Short answer 1. "))
    empty = pair(2, TRAINED[0], chosen=text_message("assistant", " "))
    silent = pair(4, TRAINED[0], rejected=text_message("assistant", "\n"))
    selection = select([same, empty, pair(3, TRAINED[0], prompt=()), silent], {}, Caps())
    assert (selection.train, selection.left_out) == ((), {"NOTHING_TO_LEARN": 4})


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_an_answer_that_calls_a_tool_is_not_trained_on(side: str) -> None:
    call = Message("assistant", (Text("I look."), ToolCall("c1", "weather", "{}")))
    selection = select([pair(1, TRAINED[0], **{side: call}), pair(2, TRAINED[1])], {}, Caps())
    assert [one.pair_id for one in selection.train] == ["p002"]
    assert selection.left_out == {"ANSWER_CALLS_A_TOOL": 1}


def test_pairs_that_training_could_not_tell_apart_are_left_out_of_both_parts() -> None:
    alike = {"p001", "p500"}
    selection = select(many(3, 2), {}, Caps(), lambda pair: pair.pair_id in alike)
    assert [one.pair_id for one in selection.train] == ["p000", "p002"]
    assert [one.pair_id for one in selection.held_out] == ["p501"]
    assert describe(selection, "").left_out == {"ALIKE_WHERE_CUT": 2}


def test_calls_and_results_of_tools_are_in_the_snapshot(tmp_path: Path) -> None:
    call = Message("assistant", (Text("I look."), ToolCall("c1", "weather", '{"a": 1}')))
    picture = Message("user", (Media("sha256:1", "image_url"), Text("What is it?")))
    prompt = (picture, call, Message("tool", (ToolResult("c1", "12 degrees"),)))
    selection = select([pair(1, TRAINED[0], prompt=prompt)], {}, Caps())
    snapshot = ParquetSnapshots(str(tmp_path)).keep(selection)
    assert read_pairs(snapshot.uri, "train")[0].prompt == prompt


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
    empty = pair(99, TRAINED[0], prompt=())
    selection = select([*many(12, 4), empty], {f"local/{TRAINED[3]}": "Brief."}, Caps())
    snapshots = ParquetSnapshots(f"{scheme}{tmp_path}/snapshots")
    snapshot = snapshots.keep(selection)
    assert snapshots.keep(selection) == snapshot
    assert tuple(read_pairs(snapshot.uri, "train")) == selection.train
    assert tuple(snapshots.held_out(snapshot)) == selection.held_out
    sheet = json.loads((tmp_path / "snapshots" / snapshot.digest / "datasheet.json").read_text())
    assert (sheet["train_pairs"], sheet["held_out_pairs"], sheet["train_users"]) == (12, 4, 12)
    assert sheet["pairs_by_source"] == {"user_guided_rewrite": 12}
    assert sheet["left_out"] == {"NOTHING_TO_LEARN": 1}


def test_what_a_user_said_of_an_answer_is_kept_where_something_was_said(tmp_path: Path):
    silent, told = many(2, 0)
    told = replace(told, feedback_text="Shorter, please.")
    assert "feedback_text" not in row_of(silent)
    selection = Selection((silent, told), ())
    assert digest_of(selection) != digest_of(
        Selection((silent, replace(told, feedback_text="")), ())
    )
    snapshot = ParquetSnapshots(str(tmp_path)).keep(selection)
    found = read_pairs(snapshot.uri, "train")
    assert [pair.feedback_text for pair in found] == ["", "Shorter, please."]


def test_the_other_answers_are_kept_with_what_they_are_worth(tmp_path: Path):
    sampled = Sampled(text_message("assistant", "A third answer, of some words."), 0.25)
    plain, other = pair(1, TRAINED[0]), pair(2, TRAINED[1], samples=(sampled,))
    snapshots = ParquetSnapshots(str(tmp_path))
    snapshot = snapshots.keep(select([plain, other], {}, Caps()))
    assert snapshots.taught(snapshot) == [plain, other]
    assert "samples" not in row_of(plain)
    assert row_of(other)["samples"] == '[["A third answer, of some words.", 0.25]]'


def test_a_half_written_snapshot_is_written_again(tmp_path: Path):
    selection = select(many(5, 1), {}, Caps())
    folder = tmp_path / digest_of(selection)
    folder.mkdir()
    (folder / "train.parquet").write_bytes(b"half of a fi")
    snapshot = ParquetSnapshots(str(tmp_path)).keep(selection)
    assert tuple(read_pairs(snapshot.uri, "train")) == selection.train


def test_what_people_wanted_long_ago_is_left_out() -> None:
    old = pair(1, TRAINED[2], create_time=START - timedelta(days=91))
    recent = pair(2, TRAINED[0], create_time=START - timedelta(days=89))
    newest = pair(3, TRAINED[1], create_time=START)
    assert select([old, recent, newest], {}, Caps()).train == (recent, newest)
    assert select([old, recent], {}, Caps()).train == (old, recent)
