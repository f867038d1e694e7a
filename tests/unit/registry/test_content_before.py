"""Who is a group where little is known: those who were content before, and those who asked for something."""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import pytest

from services.registry.domain.versions import State
from shared.gen.trimtab.events.v1 import events_pb2
from shared.language.groups import CONTENT_BEFORE, UNKNOWN, Reach
from shared.language.interests import ConflictRule, Interests
from shared.state.stage import drain
from tests.unit.registry.test_groups import BRIEF, GLAD, SAD, begin, say, state
from tests.unit.registry.test_registry import HOME, House


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.database.close()


def test_those_who_were_content_are_a_group_where_nobody_is_told_apart(house: House) -> None:
    """Eight in ten complained before and are glad of the canary; two in ten were content, and are not."""

    def said(user: str, version: str, kind: str, before: str, groups: list[str]) -> None:
        named = events_pb2.FollowUpKind.Value(f"FOLLOW_UP_KIND_{before}")
        house.say(f"{user}-{version}", version, kind, kind_before=named, groups=groups)

    begin(house)
    for number in range(60):
        for version, many, few in (("assistant-v0", SAD, GLAD), ("assistant-v1", GLAD, SAD)):
            for one in range(4):
                said(f"many{number}.{one}", version, many, SAD, [])
            said(f"few{number}", version, few, "NEW_REQUEST", [UNKNOWN] if number % 2 else [])
        drain(house.stage)
        if state(house) != State.CANARY:
            break
    rollout = house.app.rollout(HOME)[0]
    assert state(house) == State.ROLLED_BACK
    assert rollout.test.log_e_better > log(20)  # the mean alone would have promoted it
    assert rollout.words.startswith(
        "assistant-v1 was rolled back: group content before is worse by more than 0.15: dissatisfied "
    )


def test_a_user_of_a_known_group_counts_in_it_alone_and_a_complaint_makes_no_group(
    house: House,
) -> None:
    begin(house)
    for user, known, before in (
        ("u1", ["plan=free"], "POSITIVE"),
        ("u2", [], SAD),
        ("u3", [], "NONE"),
        ("u4", [UNKNOWN], "POSITIVE"),
    ):
        kind = events_pb2.FollowUpKind.Value(f"FOLLOW_UP_KIND_{before}")
        house.say(user, "assistant-v1", GLAD, groups=known, kind_before=kind)
    drain(house.stage)
    found = {one.name: one.users for one in house.app.rollout(HOME)[0].groups}
    assert found == {"plan=free": 1, UNKNOWN: 1, CONTENT_BEFORE: 1}


def test_a_small_group_by_wishes_holds_nothing_back(house: House) -> None:
    begin(house)
    house.say("u1", "assistant-v0", SAD, groups=["wants.tone=formal"])
    drain(house.stage)
    say(house, 24, BRIEF, SAD, GLAD)
    again = House()
    begin(again)
    again.say("u1", "assistant-v0", SAD, groups=["tone=formal"])
    drain(again.stage)
    say(again, 24, BRIEF, SAD, GLAD)
    assert (state(house), state(again)) == (State.CHAMPION, State.CANARY)
    again.database.close()


def test_a_group_by_wishes_that_is_served_by_name_is_shown_not_to_lose(house: House) -> None:
    house.register("a")
    both = ("wants.length=shorter", "wants.form=list")
    house.app.start_rollout(
        "local", "r", "assistant-v1", 0.0, "retrain", "passed", both, Reach(both)
    )
    say(house, 24, both[0], SAD, GLAD)
    assert state(house) == State.CANARY
    assert "that no group is worse by 0.15 (not known of wants.form=list)" in (
        house.app.rollout(HOME)[0].words
    )
    say(house, 40, both[1], GLAD, GLAD)
    assert state(house) == State.CHAMPION


def test_by_maxmin_nobody_owes_a_gain_to_those_who_were_content(house: House) -> None:
    begin(house, Interests(ConflictRule.MAXMIN, actor="ada"))
    for number in range(40):
        for version, kind in (("assistant-v0", SAD), ("assistant-v1", GLAD)):
            house.say(f"many{number}-{version}", version, kind)
            before = events_pb2.FOLLOW_UP_KIND_POSITIVE
            house.say(f"few{number}-{version}", version, GLAD, kind_before=before)
    drain(house.stage)
    assert state(house) == State.CHAMPION
    assert [one.name for one in house.app.rollout(HOME)[0].groups] == [CONTENT_BEFORE]
