"""A share of what is trained on is of before, so that what was learnt long ago is not forgotten."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.retrain.adapters.recipes import read_recipe
from services.retrain.codec import decode_policy, encode_recipe, encode_snapshot
from services.retrain.domain.datasheet import describe
from services.retrain.domain.recipes import Recipe
from services.retrain.domain.replay import to_replay
from services.retrain.domain.runs import (
    Run,
    RunStep,
    State,
    Trigger,
    TriggerKind,
    learnt_until,
)
from services.retrain.domain.selection import Caps, Choice, choices, select
from services.retrain.domain.snapshots import Selection, digest_of
from services.retrain.settings import RetrainSettings
from shared.gen.trimtab.registry.v1 import registry_pb2
from shared.language.errors import InvalidArgument
from shared.language.pairs import Pair
from tests.unit.retrain.house import House
from tests.unit.retrain.pairs import HELD_OUT, LOCAL, START, TRAINED, pair

# Ten users spoke before it, a pair each second; the others after it.
UNTIL = START + timedelta(seconds=100)
TEN = Caps(train_pairs=10)


def before(count: int = 10, groups: Sequence[str] = ()) -> list[Pair]:
    return [pair(10 * n, TRAINED[n], groups=tuple(groups)) for n in range(count)]


def after(count: int, groups: Sequence[str] = ()) -> list[Pair]:
    return [pair(200 + n, TRAINED[20 + n], groups=tuple(groups)) for n in range(count)]


def names(selection: Selection) -> list[str]:
    return [one.pair_id for one in selection.train]


def test_where_newer_pairs_fill_the_room_a_share_is_of_before() -> None:
    selection = select([*before(), *after(12)], {}, TEN, until=UNTIL)
    # The newest of either half of the time before.
    assert names(selection) == ["p040", "p090", *(f"p{n}" for n in range(204, 212))]
    assert selection.replayed == 2
    # Two of those after would be in otherwise; two more would not.
    assert selection.left_out == {"PART_IS_FULL": 10, "REPLAY_SHARE": 2}
    assert describe(selection, "").replayed_pairs == 2
    assert encode_snapshot(describe(selection, "")).replayed_pairs == 2


def test_as_long_as_there_is_room_for_all_nothing_changes() -> None:
    pairs = [*before(5), *after(5), pair(1, HELD_OUT[0])]
    selection = select(pairs, {}, TEN, until=UNTIL)
    assert selection == select(pairs, {}, TEN)
    assert selection.replayed == 0
    # As it was before there were replays.
    assert digest_of(selection).startswith("63bd556b7b15089b")


@pytest.mark.parametrize("share", [0.0, 0.09])
def test_less_than_one_pair_is_none(share: float) -> None:
    pairs = [*before(), *after(12)]
    caps = replace(TEN, replay_share=share)
    assert select(pairs, {}, caps, until=UNTIL) == select(pairs, {}, caps)


def test_nothing_is_of_before_as_long_as_no_snapshot_was_made() -> None:
    selection = select([*before(), *after(12)], {}, TEN)
    assert names(selection) == [f"p{n}" for n in range(202, 212)]
    assert selection.left_out == {"PART_IS_FULL": 12}


def test_the_rest_is_newest_first_whether_of_before_or_not() -> None:
    selection = select([*before(), *after(4)], {}, TEN, until=UNTIL)
    assert names(selection) == [
        *("p040", "p050", "p060", "p070", "p080", "p090"),
        *(f"p{n}" for n in range(200, 204)),
    ]
    # Two of them as ones of before: here they are among the newest, too.
    assert selection.replayed == 2


def test_replays_are_spread_over_time_and_not_over_pairs() -> None:
    """Nine of the ten are of the last tenth of the time before."""
    times = [0, *range(91, 100)]
    pairs = [pair(n, TRAINED[n]) for n in reversed(times)]
    assert [pairs[index].pair_id for index in to_replay(pairs, UNTIL, 3)[:4]] == [
        "p099",
        "p000",
        "p098",
        "p097",
    ]
    assert to_replay(pairs, UNTIL, 0) == []
    same = [replace(one, create_time=START) for one in pairs]
    assert to_replay(same, UNTIL, 3) == list(range(10))


def test_of_whoever_has_spoken_since_nothing_is_replayed() -> None:
    """What they wanted before may be what they want no more."""
    changed = [pair(300 + n, TRAINED[n]) for n in (4, 9)]
    selection = select([*before(), *after(12), *changed], {}, TEN, until=UNTIL)
    assert names(selection)[:2] == ["p030", "p080"]
    everybody = [pair(300 + n, TRAINED[n]) for n in range(10)]
    selection = select([*before(), *everybody], {}, TEN, until=UNTIL)
    assert names(selection) == [f"p{n}" for n in range(300, 310)]
    assert selection.replayed == 0


def test_held_out_pairs_are_not_replayed() -> None:
    judges = [pair(n, HELD_OUT[n]) for n in range(5)]
    caps = replace(TEN, held_out_pairs=2)
    selection = select([*judges, *before(), *after(12)], {}, caps, until=UNTIL)
    assert [one.pair_id for one in selection.held_out] == ["p003", "p004"]
    assert selection.replayed == 2


def test_replays_are_under_the_caps_of_users_and_days() -> None:
    loud = [pair(n, TRAINED[0]) for n in range(30)]
    caps = Caps(train_pairs=20, replay_share=0.5, user_share=0.1)
    selection = select([*loud, *after(40)], {}, caps, until=UNTIL)
    users = Counter(one.user_id for one in selection.train)
    assert users[TRAINED[0]] == selection.replayed == 2
    old = [replace(one, create_time=one.time - timedelta(days=3)) for one in before()]
    caps = Caps(train_pairs=20, replay_share=0.5, pairs_per_day=4)
    days = [
        replace(one, create_time=one.time + timedelta(days=n)) for n, one in enumerate(after(40))
    ]
    selection = select([*old, *days], {}, caps, until=UNTIL)
    assert selection.replayed == 4


def test_a_repetition_of_before_is_not_replayed_beside_another() -> None:
    same = before()[4]
    again = replace(same, pair_id="p045", user_id=TRAINED[15], create_time=pair(45, "").time)
    selection = select([*before(), again, *after(12)], {}, TEN, until=UNTIL)
    assert names(selection)[:2] == ["p045", "p090"]


def test_a_groups_replays_are_of_its_own_share() -> None:
    """The few are all of before: they have their half of the room, and no more of it is given to replays."""
    few, many = before(10, ["longer"]), after(20, ["shorter"])
    caps = Caps(train_pairs=20, replay_share=0.4)
    selection = select([*few[:6], *many], {}, caps, until=UNTIL)
    assert Counter(one.groups[0] for one in selection.train) == {"longer": 6, "shorter": 14}
    # Sixteen of the many might be replayed, but they have their half of the room, and no more.
    old = [pair(5 * n, TRAINED[n], groups=("shorter",)) for n in range(16)]
    small = [pair(400 + n, TRAINED[60 + n], groups=("longer",)) for n in range(15)]
    most = replace(caps, replay_share=0.8)
    selection = select([*old, *many, *small], {}, most, until=UNTIL)
    assert Counter(one.groups[0] for one in selection.train) == {"longer": 10, "shorter": 10}
    assert selection.replayed == 10


def test_who_gave_way_to_a_group_and_who_to_a_replay_are_told_apart() -> None:
    pairs = [*before(4, ["longer"]), *after(12, ["shorter"])]
    found = choices(pairs, Caps(train_pairs=8, replay_share=0.25), until=UNTIL)
    reasons = Counter(one.verdict for one in found)
    assert reasons == {"train": 8, "GROUP_SHARE": 4, "PART_IS_FULL": 4}
    assert Choice(pairs[3], "train", is_replayed=True) in found


def a_run(number: int, verdict: str, hour: int, snapshot: bool = True) -> Run:
    made = START + timedelta(hours=hour)
    step = RunStep(State.SNAPSHOT, 1, made - timedelta(minutes=1), made)
    return Run(
        run=f"run-{number}",
        number=number,
        state=State.SUCCEEDED,
        trigger=Trigger(TriggerKind.PERSON, ""),
        create_time=START,
        update_time=START,
        verdict=verdict,
        snapshot=describe(Selection((), ()), "") if snapshot else None,
        steps=(step,),
    )


def test_before_is_what_the_newest_snapshot_that_passed_has_seen() -> None:
    failed, passed = a_run(3, "failed", 9), a_run(2, "passed", 5)
    assert learnt_until([failed, passed, a_run(1, "passed", 1)]) == START + timedelta(hours=5)
    assert learnt_until([failed, a_run(1, "failed", 1)]) == START + timedelta(hours=9)
    assert learnt_until([a_run(1, "error", 1, snapshot=False)]) is None
    assert learnt_until([replace(passed, steps=())]) == START


def test_the_second_run_of_a_policy_replays_and_says_how_many() -> None:
    house = House(caps=Caps(train_pairs=20, user_share=1.0))
    house.mine(train=30, held_out=5)
    house.time += timedelta(hours=1)
    house.start("first")
    first = house.walk(until=lambda run: run.has_ended)
    assert first.snapshot is not None
    assert first.snapshot.replayed_pairs == 0
    later = house.time + timedelta(hours=1)
    with house.store.begin() as session:
        for n in range(40):
            session.add_pair(
                pair(600 + n, TRAINED[100 + n], create_time=later + timedelta(seconds=n))
            )
    shown = house.app.preview(LOCAL, lambda digest: f"somewhere/{digest}")
    house.start("second")
    second = house.walk(until=lambda run: run.has_ended)
    assert second.snapshot is not None
    assert (second.snapshot.train_pairs, second.snapshot.replayed_pairs) == (20, 4)
    assert second.snapshot.left_out["REPLAY_SHARE"] == 4
    assert shown.digest == second.snapshot.digest


def test_setting_policy_and_recipe_say_the_share(tmp_path: Path) -> None:
    deployment = replace(RetrainSettings(replay_share=0.3).rules, base_model="small")
    assert deployment.caps.replay_share == 0.3
    told = registry_pb2.Policy(
        name="tenants/local/policies/sales", recipe=registry_pb2.Recipe(replay_share=0)
    )
    policy = decode_policy(told)
    assert policy.plan == {}
    # Of the caps it says nothing else.
    assert policy.effective(deployment).caps == replace(deployment.caps, replay_share=0)
    recipe = _recipe(tmp_path, "0.5")
    assert recipe.applied(policy.effective(deployment)).caps.replay_share == 0.5
    assert encode_recipe(recipe).replay_share == 0.5
    silent = replace(recipe, replay_share=None)
    assert silent.applied(deployment).caps.replay_share == 0.3
    assert not encode_recipe(silent).HasField("replay_share")


def _recipe(folder: Path, share: str) -> Recipe:
    file = folder / "mine.toml"
    file.write_text(
        f'recipe = "mine"\nversion = 1\nwhat = "A test."\n'
        f'[selection]\nreplay_share = {share}\n[training]\nobjective = "dpo"\n'
    )
    return read_recipe(file)


def test_a_share_out_of_range_is_refused_by_its_name(tmp_path: Path) -> None:
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="replay_share"):
            RetrainSettings(replay_share=wrong)
        with pytest.raises(InvalidArgument, match=r"selection\.replay_share"):
            _recipe(tmp_path, str(wrong))
