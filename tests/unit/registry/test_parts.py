"""A canary that is for several groups by name, and serves some of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from math import exp, log

import pytest

from services.registry.domain.decisions import Kind, better_at, decide, observed
from services.registry.domain.groups import Part
from services.registry.domain.policies import Policy, RolloutOverrides
from services.registry.domain.rollouts import Observation, Rollout, RolloutRules
from services.registry.domain.versions import State
from shared.language.groups import CONTENT_BEFORE, Composition, Layer, Reach
from shared.language.interests import ConflictRule, Interests
from shared.state.stage import drain
from shared.statistics.betting import GRID
from tests.unit.registry.test_registry import HOME, START, House

SHORTER, LISTS = "wants.length=shorter", "wants.form=list"
GLAD, SAD = "POSITIVE", "REATTEMPT_WITH_FEEDBACK"


@pytest.fixture
def house() -> Iterator[House]:
    """Whose canary is for both groups; five users on each arm are enough."""
    house = House()
    begin(house)
    yield house
    house.database.close()


def begin(
    house: House, named: tuple[str, ...] = (SHORTER, LISTS), spared: tuple[str, ...] = ()
) -> None:
    house.register("a")
    house.app.start_rollout(
        "local", "r", "assistant-v1", 0.0, "retrain", "passed", named, Reach(named, spared)
    )


def say(house: House, count: int, groups: list[str], champion: str, canary: str) -> None:
    """More users of those groups on each arm."""
    first = rollout(house).test.canary.users
    for number in range(first, first + count):
        for version, kind in (("assistant-v0", champion), ("assistant-v1", canary)):
            house.say(f"u{number}-{version}", version, kind, groups=groups)
    drain(house.stage)


def state(house: House) -> State:
    return house.app.get("local", "assistant-v1").state


def rollout(house: House) -> Rollout:
    return house.app.rollout(HOME)[0]


def test_it_is_promoted_for_those_of_whom_it_is_shown_once_the_others_had_their_chance(
    house: House,
) -> None:
    """By hand: a user who gains multiplies each share's wealth by 1 + share; the first part after the whole
    needs an e-value of 6 / 0.05."""
    first = next(n for n in range(1, 99) if sum((1 + one) ** n for one in GRID) / len(GRID) >= 120)
    assert first == 10
    say(house, 4, [LISTS], SAD, SAD)
    say(house, first, [SHORTER], SAD, GLAD)
    assert state(house) == State.CANARY
    assert rollout(house).test.log_e_better > 0
    say(house, 1, [LISTS], SAD, SAD)
    assert state(house) == State.CHAMPION
    champion = house.app.rollout(HOME)[1]
    assert champion.composition == Composition.by_group({SHORTER: "assistant-v1"}, "base")
    assert rollout(house).words.startswith(
        "assistant-v1 was promoted: measurably better than the champion for wants.length=shorter, and no group"
        " is worse; not shown for wants.form=list, who keep the answers that they had: dissatisfied 5 of 15"
        " users on the canary, 15 of 15 users on the champion"
    )
    assert rollout(house).parts == ()


def test_whom_all_of_them_spare_the_part_spares_too() -> None:
    house = House()
    begin(house, spared=("longer",))
    say(house, 4, [LISTS], SAD, SAD)
    for number in range(30):
        house.say(f"spared-{number}", "assistant-v1", SAD, groups=["longer", SHORTER])
    drain(house.stage)
    assert rollout(house).test.canary.users == 4
    say(house, 10, [SHORTER], SAD, GLAD)
    say(house, 1, [LISTS], SAD, SAD)
    assert house.app.rollout(HOME)[1].composition == Composition(
        "base", (Layer("assistant-v1", Reach((SHORTER,), ("longer",))),)
    )
    house.database.close()


def test_a_rollout_that_began_before_there_were_layers_is_for_the_same_groups(house: House) -> None:
    """Each group had a place of its own then, and so had the champion's."""
    champion = Composition.by_group({"plan=free": "v9"}, "base")
    canary = Composition.by_group(
        {"plan=free": "v9", SHORTER: "assistant-v1", LISTS: "assistant-v1"}, "base"
    )
    old = replace(rollout(house), served=(champion, canary))
    assert sorted(old.named) == sorted([SHORTER, LISTS])
    assert [old.is_for((one,)) for one in (SHORTER, LISTS, "plan=free")] == [True, True, False]
    say(house, 9, [SHORTER], SAD, GLAD)
    say(house, 5, [LISTS], SAD, SAD)
    old = replace(rollout(house), served=(champion, canary))
    rules = RolloutRules(min_users=5, max_s=900)
    assert decide(old, rules, START) is None
    for version, kind in (("assistant-v0", SAD), ("assistant-v1", GLAD)):
        seen = Observation(
            "local", "last", version, "follow_up", kind.lower(), False, START, (SHORTER,)
        )
        old = observed(old, seen, rules)
    found = decide(old, rules, START)
    assert found is not None
    assert (found.kind, found.only_for) == (Kind.PROMOTE, (SHORTER,))


def test_parts_are_promoted_after_the_last_of_several_steps() -> None:
    stepped = House()
    overrides = RolloutOverrides(steps="5%:8:1d")
    stepped.policies.update(Policy(HOME, rollout=overrides), ["rollout"])
    begin(stepped)
    say(stepped, 4, [LISTS], SAD, SAD)
    say(stepped, 10, [SHORTER], SAD, GLAD)
    assert (rollout(stepped).step, state(stepped)) == (1, State.CANARY)
    say(stepped, 1, [LISTS], SAD, SAD)
    assert state(stepped) == State.CHAMPION
    assert stepped.app.rollout(HOME)[1].composition == Composition(
        "base", (Layer("assistant-v1", Reach((SHORTER,))),)
    )
    stepped.database.close()


def test_with_one_user_less_it_is_not_shown(house: House) -> None:
    say(house, 5, [LISTS], SAD, SAD)
    say(house, 9, [SHORTER], SAD, GLAD)
    assert state(house) == State.CANARY
    say(house, 1, [SHORTER], SAD, GLAD)
    assert state(house) == State.CHAMPION


def test_those_who_never_came_keep_theirs_once_the_time_is_over(house: House) -> None:
    say(house, 10, [SHORTER], SAD, GLAD)
    house.judge.tick()
    assert state(house) == State.CANARY
    house.time += timedelta(seconds=901)
    house.judge.tick()
    assert state(house) == State.CHAMPION
    assert house.app.rollout(HOME)[1].composition == Composition.by_group(
        {SHORTER: "assistant-v1"}, "base"
    )


def test_where_all_gain_all_get_it(house: House) -> None:
    for _ in range(9):
        say(house, 1, [SHORTER], SAD, GLAD)
        say(house, 1, [LISTS], SAD, GLAD)
    assert state(house) == State.CHAMPION
    assert house.app.rollout(HOME)[1].composition == Composition(
        "base", (Layer("assistant-v1", Reach((SHORTER, LISTS))),)
    )


def test_where_one_of_them_loses_it_goes_back_for_all(house: House) -> None:
    say(house, 4, [SHORTER], SAD, GLAD)
    say(house, 20, [LISTS], GLAD, SAD)
    assert state(house) == State.ROLLED_BACK


def test_those_inside_a_group_who_were_content_protect_it_from_themselves(house: House) -> None:
    """Of those who asked for short answers, some were content before, and of these nothing is shown."""
    say(house, 5, [LISTS], SAD, SAD)
    say(house, 4, [SHORTER, CONTENT_BEFORE], GLAD, GLAD)
    say(house, 20, [SHORTER], SAD, GLAD)
    assert state(house) == State.CANARY
    say(house, 24, [SHORTER, CONTENT_BEFORE], GLAD, GLAD)
    assert state(house) == State.CHAMPION


def test_a_user_of_both_counts_in_both(house: House) -> None:
    say(house, 2, [LISTS, SHORTER], SAD, GLAD)
    say(house, 1, [LISTS], SAD, GLAD)
    assert [(one.name, one.test.pairs) for one in rollout(house).parts] == [
        (SHORTER, 2),
        (LISTS, 3),
    ]


def test_parts_are_only_where_the_rule_looks_at_each_group_and_there_are_several() -> None:
    single = House()
    begin(single, (SHORTER,))
    assert rollout(single).parts == ()
    assert better_at(rollout(single), RolloutRules()) == pytest.approx(log(20))
    single.database.close()
    for rule in (ConflictRule.MEAN, ConflictRule.MAXMIN):
        chosen = House()
        interests = Interests(rule, actor="ada", reason="a trial")
        chosen.policies.update(Policy(HOME, interests=interests), ["interests"])
        begin(chosen)
        assert rollout(chosen).parts == ()
        chosen.database.close()


def test_the_errors_of_the_whole_and_of_its_parts_add_up_to_alpha() -> None:
    parts = tuple(Part(f"wants.tone={number}") for number in range(8))
    whole, rules = Rollout(HOME, 1, ("assistant-v0",), START, parts=parts), RolloutRules()
    each = [exp(-better_at(whole, rules, place)) for place in range(9)]
    assert each[:2] == pytest.approx([0.05 / 2, 0.05 / 6])
    assert sum(each) < 0.05
    assert better_at(replace(whole, parts=()), rules) == pytest.approx(rules.log_threshold)
