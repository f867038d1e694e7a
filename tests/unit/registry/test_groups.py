"""A rollout group by group: tests by hand, and what each rule makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from math import exp, log

import pytest

from services.registry.domain import groups
from services.registry.domain.decisions import worse_at
from services.registry.domain.groups import NOT_WORSE, UNTOLD, WORSE, GroupTest
from services.registry.domain.policies import Policy
from services.registry.domain.rollouts import RolloutRules
from services.registry.domain.versions import State
from shared.gen.trimtab.common.v1 import people_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.language.errors import InvalidArgument
from shared.language.groups import CONTENT_BEFORE, EVERYONE_ELSE, UNKNOWN
from shared.language.interests import LIMITS, ConflictRule, Interests, SmallGroups
from shared.state.stage import drain
from shared.statistics.betting import GRID
from tests.unit.registry.test_registry import HOME, START, Calling, House

ALPHA = 0.05
BRIEF, THOROUGH = "shorter", "longer"
GLAD, SAD = "POSITIVE", "REATTEMPT_WITH_FEEDBACK"


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.database.close()


def seen(champion: str, canary: str, margin: float = 0.15) -> GroupTest:
    """Of a group whose users said so, one after the other on each arm: s is dissatisfied, g is not."""
    tests: tuple[GroupTest, ...] = ()
    for left, right in zip(champion, canary, strict=True):
        for on_canary, one in ((False, left), (True, right)):
            value = float(one == "s")
            tests = groups.observed(
                tests, (BRIEF,), on_canary=on_canary, value=value, margin=margin
            )
    return tests[0]


def test_the_errors_of_all_groups_add_up_to_alpha() -> None:
    each = [exp(-groups.spent(place, ALPHA)) for place in range(10_000)]
    assert each[:3] == pytest.approx([0.05 / 2, 0.05 / 6, 0.05 / 12])
    assert sum(each) == pytest.approx(ALPHA, rel=1e-3)
    assert sum(each) < ALPHA


def test_equal_users_show_after_28_pairs_that_a_group_is_not_worse() -> None:
    """By hand: a pair of equal values multiplies each share's wealth by 1 + share * 0.15 / 0.85."""
    wealth = sum((1 + share * 0.15 / 0.85) ** 31 for share in GRID) / len(GRID)
    assert seen("g" * 31, "g" * 31).test.log_e_not_worse == pytest.approx(log(wealth))
    places = [n for n in range(1, 60) if seen("g" * n, "g" * n).verdict(0, ALPHA) == NOT_WORSE]
    assert places[0] == next(
        n
        for n in range(1, 60)
        if sum((1 + share * 0.15 / 0.85) ** n for share in GRID) / len(GRID) >= 20
    )
    assert places == list(range(places[0], 60))
    assert places[0] == 28


def test_a_group_that_loses_everywhere_is_worse_after_twelve_pairs() -> None:
    """By hand: such a pair multiplies by 1 + share * (1 - 0.15) / (1 + 0.15); the second test of the family
    needs an e-value of 6 / alpha = 120."""
    growth = [1 + share * 0.85 / 1.15 for share in GRID]
    first = next(n for n in range(1, 60) if sum(one**n for one in growth) / len(GRID) >= 120)
    assert seen("g" * first, "s" * first).verdict(0, ALPHA) == WORSE
    assert seen("g" * (first - 1), "s" * (first - 1)).verdict(0, ALPHA) == UNTOLD
    assert first == 12


def test_everyone_is_the_first_of_the_tests_that_end_a_rollout() -> None:
    rules = RolloutRules(alpha=ALPHA)
    assert worse_at(Interests(), rules) == pytest.approx(log(2 / ALPHA))
    assert worse_at(Interests(ConflictRule.MEAN), rules) == pytest.approx(log(1 / ALPHA))


def test_many_segments_do_not_take_the_places_of_learnt_groups() -> None:
    tests: tuple[GroupTest, ...] = ()
    for number in range(30):
        tests = groups.observed(tests, (f"plan={number}",), on_canary=True, value=0.0, margin=0.15)
    for number in range(30):
        tests = groups.observed(tests, (f"taste {number}",), on_canary=True, value=0.0, margin=0.15)
    assert [one.name for one in tests] == [
        *(f"plan={number}" for number in range(8)),
        *(f"taste {number}" for number in range(8)),
    ]


def begin(house: House, interests: Interests | None = None, expected: tuple[str, ...] = ()) -> None:
    house.register("a")
    if interests:
        house.policies.update(Policy(HOME, interests=interests), ["interests"])
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "retrain", "passed", expected)


def say(house: House, count: int, group: str, champion: str, canary: str, at: int = 0) -> None:
    for number in range(at, at + count):
        for version, kind in (("assistant-v0", champion), ("assistant-v1", canary)):
            house.say(f"{group}-{number}-{version}", version, kind, groups=[group])
    drain(house.stage)


def state(house: House) -> State:
    return house.app.get("local", "assistant-v1").state


def test_what_helps_the_many_and_hurts_the_few_goes_back_while_the_mean_improves(
    house: House,
) -> None:
    begin(house)
    for at in range(0, 60, 4):
        if state(house) != State.CANARY:
            break
        say(house, 4, BRIEF, SAD, GLAD, at)
        say(house, 1, THOROUGH, GLAD, SAD, at)
    rollout = house.app.rollout(HOME)[0]
    assert state(house) == State.ROLLED_BACK
    assert rollout.test.log_e_better > log(20)  # the mean alone would have promoted it
    assert rollout.words.startswith(
        "assistant-v1 was rolled back: group longer is worse by more than 0.15: dissatisfied "
    )
    assert "on the canary, 0 of" in rollout.words


def test_what_serves_both_is_promoted_once_each_group_is_known_not_to_lose(house: House) -> None:
    begin(house)
    say(house, 24, BRIEF, SAD, GLAD)
    assert state(house) == State.CHAMPION  # nobody else was there
    again = House()
    begin(again, expected=(BRIEF, THOROUGH))
    say(again, 24, BRIEF, SAD, GLAD)
    assert state(again) == State.CANARY
    assert (
        "that no group is worse by 0.15 (not known of longer)" in again.app.rollout(HOME)[0].words
    )
    say(again, 40, THOROUGH, GLAD, GLAD)
    assert state(again) == State.CHAMPION
    assert "measurably better than the champion, and no group is worse" in (
        again.app.rollout(HOME)[0].words
    )
    again.database.close()


def test_a_group_of_which_nothing_is_known_in_time_holds_a_version_back(house: House) -> None:
    begin(house, expected=(BRIEF, "plan=gone"))
    say(house, 24, BRIEF, SAD, GLAD)
    house.time += timedelta(seconds=901)
    house.judge.tick()
    assert state(house) == State.ROLLED_BACK
    assert "that no group is worse by 0.15 (not known of plan=gone)" in (
        house.app.rollout(HOME)[0].words
    )


def test_a_policy_may_go_on_without_groups_that_are_too_small(house: House) -> None:
    interests = Interests(small_groups=SmallGroups.GO_ON, actor="ada")
    begin(house, interests, (BRIEF, "plan=gone"))
    say(house, 24, BRIEF, SAD, GLAD)
    assert state(house) == State.CHAMPION


def test_a_large_group_is_never_passed_over_as_small() -> None:
    go_on = Interests(small_groups=SmallGroups.GO_ON, actor="ada")
    mixed = seen("gs" * 10, "sg" * 10)
    assert not groups.is_small(mixed, 0.15, ALPHA)
    assert groups.in_the_way((mixed,), go_on, ALPHA) == [BRIEF]
    assert groups.is_small(seen("g" * 18, "g" * 18), 0.15, ALPHA)
    assert groups.in_the_way((seen("g" * 18, "g" * 18),), go_on, ALPHA) == []


def test_a_learnt_group_that_came_to_be_since_holds_nothing_back_while_it_is_small(
    house: House,
) -> None:
    """A reward model that was trained during the rollout divides people anew."""
    begin(house, expected=(BRIEF,))
    say(house, 2, "lists", SAD, GLAD)
    say(house, 24, BRIEF, SAD, GLAD)
    assert state(house) == State.CHAMPION


def test_it_ends_the_rollout_all_the_same_once_it_is_seen_to_lose(house: House) -> None:
    begin(house, expected=(BRIEF,))
    say(house, 4, BRIEF, SAD, GLAD)
    say(house, 16, "lists", GLAD, SAD)
    assert state(house) == State.ROLLED_BACK


def test_the_unknown_come_to_be_with_the_first_learnt_group(house: House) -> None:
    """Before, nobody was divided, and so nobody was unknown."""
    begin(house, expected=("plan=paid", EVERYONE_ELSE))
    say(house, 2, UNKNOWN, SAD, GLAD)
    say(house, 24, "plan=paid", SAD, GLAD)
    assert "(not known of everyone else)" in house.app.rollout(HOME)[0].words


def test_of_segments_the_unknown_and_the_content_evidence_is_needed_whenever_they_come(
    house: House,
) -> None:
    begin(house, expected=(BRIEF,))
    for group in ("plan=free", UNKNOWN, CONTENT_BEFORE):
        say(house, 2, group, SAD, GLAD)
    say(house, 24, BRIEF, SAD, GLAD)
    assert state(house) == State.CANARY
    words = "(not known of plan=free, unknown, content before)"
    assert words in house.app.rollout(HOME)[0].words


def test_those_of_whom_nothing_is_known_are_a_group_too(house: House) -> None:
    begin(house)
    for at in range(0, 60, 4):
        if state(house) != State.CANARY:
            break
        say(house, 4, BRIEF, SAD, GLAD, at)
        say(house, 1, UNKNOWN, GLAD, SAD, at)
    assert "group unknown is worse" in house.app.rollout(HOME)[0].words


def test_a_user_in_two_segments_counts_in_both(house: House) -> None:
    begin(house)
    house.say("u1", "assistant-v1", GLAD, groups=[BRIEF, "plan=free", "language=de"])
    drain(house.stage)
    found = house.app.rollout(HOME)[0].groups
    assert [(one.name, one.test.canary.users) for one in found] == [
        (BRIEF, 1),
        ("plan=free", 1),
        ("language=de", 1),
    ]


def test_by_the_mean_groups_are_reported_and_stop_nothing(house: House) -> None:
    begin(house, Interests(ConflictRule.MEAN, actor="ada", reason="a trial among ourselves"))
    for at in range(0, 40, 4):
        say(house, 4, BRIEF, SAD, GLAD, at)
        say(house, 1, THOROUGH, GLAD, SAD, at)
    assert state(house) == State.CHAMPION
    assert "group longer: dissatisfied" in house.app.rollout(HOME)[0].words


def test_by_maxmin_the_group_that_is_worst_off_must_gain(house: House) -> None:
    """The mean does not move enough, but the few who were dissatisfied gain, and the others lose nothing."""
    begin(house, Interests(ConflictRule.MAXMIN, actor="ada"))
    say(house, 45, BRIEF, GLAD, GLAD)
    assert state(house) == State.CANARY
    say(house, 12, THOROUGH, SAD, GLAD)
    assert state(house) == State.CHAMPION


def test_by_maxmin_a_gain_of_the_others_is_not_enough(house: House) -> None:
    begin(house, Interests(ConflictRule.MAXMIN, actor="ada"))
    say(house, 12, THOROUGH, SAD, SAD)
    for number in range(30):
        champion = SAD if number % 2 else GLAD
        say(house, 1, BRIEF, champion, GLAD, number)
    assert state(house) == State.CANARY


def test_a_rollout_keeps_the_rule_with_which_it_began(house: House) -> None:
    begin(house)
    mean = Interests(ConflictRule.MEAN, actor="ada", reason="so be it")
    made = house.policies.update(Policy(HOME, interests=mean), ["interests"])
    assert made.interests == replace(mean, set_time=START)
    assert house.app.rollout(HOME)[0].interests == Interests()


@pytest.mark.parametrize(
    ("interests", "field"),
    [
        (Interests(ConflictRule.MEAN, actor="ada"), "interests.reason"),
        (Interests(ConflictRule.MAXMIN), "interests.actor"),
        (Interests(margin=0.2), "interests.actor"),
        (Interests(margin=1.0, actor="ada"), "interests.margin"),
        (Interests(margin=0.0, actor="ada"), "interests.margin"),
    ],
)
def test_a_rule_that_nobody_answers_for_is_refused(
    house: House, interests: Interests, field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        house.policies.update(Policy(HOME, interests=interests), ["interests"])
    assert refused.value.field == field


async def test_the_rule_its_limits_and_the_groups_are_told(house: House) -> None:
    begin(house, Interests(ConflictRule.MAXMIN, margin=0.2, actor="ada"), (THOROUGH, BRIEF))
    house.say("u1", "assistant-v1", GLAD, groups=[BRIEF])
    house.say("u2", "assistant-v0", SAD, groups=[BRIEF])
    drain(house.stage)
    answer = await house.servicer.GetRollout(pb.GetRolloutRequest(), Calling("local"))
    told = answer.rollout
    assert told.interests.rule == people_pb2.CONFLICT_RULE_MAXMIN
    assert (told.interests.margin, told.interests.actor) == (0.2, "ada")
    assert told.interests.limits == LIMITS[ConflictRule.MAXMIN]
    first, second = told.groups
    assert (first.group, second.group) == (BRIEF, THOROUGH)
    assert (first.canary_dissatisfaction.value, first.champion_dissatisfaction.value) == (0, 1)
    assert (first.canary_dissatisfaction.users, first.champion_dissatisfaction.users) == (1, 1)
    assert first.canary_dissatisfaction.group == BRIEF
    assert first.words == ("dissatisfied 0 of 1 users on the canary, 1 of 1 on the champion")
    assert (first.verdict, second.verdict) == (UNTOLD, UNTOLD)
