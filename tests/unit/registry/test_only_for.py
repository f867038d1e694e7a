"""A version for some groups of people: whom it reaches, and whose evidence a rollout of it counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.registry.domain.versions import State
from shared.contracts.people import decode_composition
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.language.errors import InvalidArgument
from shared.language.groups import UNKNOWN, Composition, Layer, Reach
from shared.state.stage import drain
from tests.unit.registry.test_groups import BRIEF, GLAD, SAD, THOROUGH, say, state
from tests.unit.registry.test_registry import HOME, Calling, House


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.database.close()


async def test_a_version_for_some_groups_leaves_everyone_else_with_what_they_had(
    house: House,
) -> None:
    """Twice: the second is for others than the first, and both go on serving theirs."""
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "x", "y", (), Reach((BRIEF,)))
    canary = house.app.rollout(HOME)[2]
    assert canary is not None
    assert canary.composition == Composition.by_group({BRIEF: "assistant-v1"}, "base")
    house.app.promote("local", "assistant-v1", "ada", "fine")
    house.register("b")
    house.app.start_rollout(
        "local", "s", "assistant-v2", 0.0, "x", "y", (), Reach((THOROUGH, UNKNOWN))
    )
    answer = await house.servicer.GetRollout(pb.GetRolloutRequest(), Calling("local"))
    told = answer.rollout
    assert decode_composition(told.canary.composition) == Composition(
        "base",
        (
            Layer("assistant-v2", Reach((THOROUGH, UNKNOWN))),
            Layer("assistant-v1", Reach((BRIEF,))),
        ),
    )
    assert dict(told.canary.composition.served_names) == {
        BRIEF: "assistant-v1",
        THOROUGH: "assistant-v2",
        UNKNOWN: "assistant-v2",
    }
    assert (told.canary.composition.others, told.champion.composition.others) == ("base", "base")
    house.app.rollback(HOME, "", "ada", "no")
    assert house.app.rollout(HOME)[1].composition == Composition.by_group(
        {BRIEF: "assistant-v1"}, "base"
    )


def test_who_keeps_their_answers_is_neither_asked_nor_waited_for(house: House) -> None:
    house.register("a")
    expected = (BRIEF, THOROUGH, "plan=free")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "x", "y", expected, Reach((BRIEF,)))
    assert [one.name for one in house.app.rollout(HOME)[0].groups] == [BRIEF]
    say(house, 3, THOROUGH, SAD, GLAD)
    say(house, 2, "plan=free", SAD, GLAD)
    assert house.counts()["abstainedSPARED"] == 10
    assert house.app.rollout(HOME)[0].test.pairs == 0
    say(house, 24, BRIEF, SAD, GLAD)
    assert state(house) == State.CHAMPION
    assert "measurably better than the champion for those who get it, and no group is worse" in (
        house.app.rollout(HOME)[0].words
    )


async def test_of_those_who_get_it_whoever_is_in_a_spared_group_keeps_their_answers(
    house: House,
) -> None:
    """Of two versions: what they keep is what the first gave them."""
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "x", "y", (), Reach((THOROUGH,)))
    house.app.promote("local", "assistant-v1", "ada", "fine")
    house.register("b")
    request = pb.StartRolloutRequest(
        request_id="s",
        version="assistant-v2",
        actor="x",
        reason="y",
        only_groups=["plan=free"],
        spared_groups=[THOROUGH],
    )
    await house.servicer.StartRollout(request, Calling("local"))
    canary = house.app.rollout(HOME)[2]
    assert canary is not None
    assert [
        canary.serves.answering(groups)
        for groups in (("plan=free",), (THOROUGH, "plan=free"), (BRIEF, "plan=free"), (BRIEF,))
    ] == ["assistant-v2", "assistant-v1", "assistant-v2", "base"]
    house.say("u1", "assistant-v2", GLAD, groups=[THOROUGH, "plan=free"])
    house.say("u2", "assistant-v2", GLAD, groups=["plan=free"])
    drain(house.stage)
    assert house.counts()["abstainedSPARED"] == 1
    assert house.app.rollout(HOME)[0].test.canary.users == 1


@pytest.mark.parametrize(
    ("only", "spared", "words"),
    [
        ((), (BRIEF,), "spared_groups are of those in only_groups; name these, too"),
        (("plan=free", BRIEF), (BRIEF,), "shorter: in only_groups and in spared_groups"),
    ],
)
async def test_groups_cannot_be_spared_what_they_do_not_get_or_are_to_get(
    house: House, only: tuple[str, ...], spared: tuple[str, ...], words: str
) -> None:
    house.register("a")
    request = pb.StartRolloutRequest(
        request_id="r",
        version="assistant-v1",
        actor="x",
        reason="y",
        only_groups=only,
        spared_groups=spared,
    )
    with pytest.raises(InvalidArgument) as refused:
        await house.servicer.StartRollout(request, Calling("local"))
    assert (refused.value.field, refused.value.message) == ("spared_groups", words)


def test_whoever_gets_other_answers_counts_though_the_champion_was_for_some_too(
    house: House,
) -> None:
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "x", "y", (), Reach((BRIEF,)))
    house.app.promote("local", "assistant-v1", "ada", "fine")
    house.register("b")
    house.app.start_rollout("local", "s", "assistant-v2", 0.0, "x", "y", (), Reach((THOROUGH,)))
    rollout = house.app.rollout(HOME)[0]
    assert [rollout.is_for((one,)) for one in (BRIEF, THOROUGH, UNKNOWN)] == [False, True, False]
    assert rollout.is_for(("plan=free", THOROUGH))
    assert rollout.is_for((BRIEF, THOROUGH))  # of both, the newest weights


def test_a_version_for_everyone_takes_the_place_of_those_for_some(house: House) -> None:
    house.register("a")
    house.app.start_rollout("local", "r", "assistant-v1", 0.0, "x", "y", (), Reach((BRIEF,)))
    house.app.promote("local", "assistant-v1", "ada", "fine")
    house.register("b")
    house.app.start_rollout("local", "s", "assistant-v2", 0.0, "x", "y")
    canary = house.app.rollout(HOME)[2]
    assert canary is not None
    assert canary.composition is None
    ((_, served),) = house.serving.changes(None)[0].items()
    assert [one.composition is None for one in served.askable] == [True, False, True]
