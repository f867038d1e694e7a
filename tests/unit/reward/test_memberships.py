"""Which groups a user belongs to: what is learnt, declared and said, and what of it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest

from services.reward.people.domain import (
    Declared,
    Division,
    Learnt,
    Said,
    Standing,
    Taste,
    composed,
    corrected,
    named_alike,
    nobody_yet,
)
from shared.calls.client import metadata
from shared.contracts.messages import encode_message
from shared.contracts.status import decode_error
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.gen.trimtab.reward.v1 import people_pb2 as pb
from shared.gen.trimtab.reward.v1 import people_pb2_grpc as pb_grpc
from shared.language.errors import InvalidArgument
from shared.language.groups import UNKNOWN, Basis, Membership
from shared.language.messages import text_message
from shared.language.topics import FEEDBACK_MINED
from tests.unit.reward.running import NOW, SHORT, RewardService, serve_channel

DIVIDED = Division("rewardModels/reward-v1", (Taste("shorter"), Taste("lists")))
LATER = NOW + timedelta(hours=1)


def standing(
    probabilities: Mapping[str, float] | None = None, judgements: int = 5, said: Said | None = None
) -> Standing:
    learnt = Learnt(probabilities or {}, judgements)
    return replace(nobody_yet("local", "ada", NOW), learnt=learnt, said=said or Said())


def settled(one: Standing, division: Division = DIVIDED) -> Standing:
    return replace(one, membership=composed(one, division, NOW))


@pytest.mark.parametrize(
    ("probabilities", "judgements", "group"),
    [
        ({"shorter": 0.8, "lists": 0.2}, 3, "shorter"),
        ({"shorter": 0.79, "lists": 0.21}, 30, UNKNOWN),
        ({"shorter": 0.99, "lists": 0.01}, 2, UNKNOWN),
        ({}, 0, UNKNOWN),
    ],
)
def test_a_user_counts_as_a_group_that_is_probable_on_enough(
    probabilities: dict[str, float], judgements: int, group: str
) -> None:
    found = composed(standing(probabilities, judgements), DIVIDED, NOW)
    assert (found.group, found.basis, found.version) == (group, Basis.LEARNT, 1)
    assert composed(standing(probabilities, judgements), Division(), NOW).group == ""


def test_the_users_word_outranks_what_is_learnt_and_a_group_that_is_gone_has_nobody() -> None:
    learnt = {"shorter": 0.99, "lists": 0.01}
    one = standing(learnt, said=Said("lists", actor="ada", reason="I like lists"))
    found = composed(one, DIVIDED, NOW)
    assert (found.group, found.basis, found.actor) == ("lists", Basis.CORRECTED, "ada")
    gone = Division("rewardModels/reward-v2", (Taste("shorter"), Taste("calm")))
    assert composed(one, gone, NOW).group == UNKNOWN


def test_a_wiggle_of_a_probability_is_no_new_version() -> None:
    first = settled(standing({"shorter": 0.9, "lists": 0.1}))
    again = composed(
        replace(first, learnt=Learnt({"shorter": 0.95, "lists": 0.05}, 6)), DIVIDED, LATER
    )
    assert (again.version, again.update_time, again.judgements) == (1, NOW, 6)
    moved = composed(
        replace(first, learnt=Learnt({"shorter": 0.5, "lists": 0.5}, 6)), DIVIDED, LATER
    )
    assert (moved.version, moved.update_time, moved.group) == (2, LATER, UNKNOWN)


def test_corrections_add_up_until_they_are_withdrawn() -> None:
    said = corrected(Said(), "lists", {"plan": "free"}, "ada", "because")
    said = corrected(said, None, {"plan": "", "region": "eu"}, "ops", "moved")
    assert said == Said("lists", {"region": "eu"}, "ops", "moved")
    assert corrected(said, "", {"region": ""}, "ada", "as it was") == Said()
    with pytest.raises(InvalidArgument) as refused:
        corrected(said, None, {f"k{n}": "v" for n in range(8)}, "ada", "")
    assert refused.value.reason == "TOO_MANY_SEGMENTS"


def test_what_is_said_of_a_segment_goes_before_what_is_declared() -> None:
    declared = {key: Declared("declared", NOW) for key in ("plan", "region")}
    one = replace(standing(), declared=declared, said=Said(segments={"plan": "said"}))
    found = composed(one, DIVIDED, NOW)
    assert found.segments == {"plan": "said", "region": "declared"}
    assert found.basis is Basis.LEARNT
    assert found.groups == (UNKNOWN, "plan=said", "region=declared")


def test_names_are_kept_by_the_members_that_groups_share() -> None:
    former = {"a": "shorter", "b": "shorter", "c": "shorter", "d": "lists", "e": "lists"}
    # The numbers changed places, and c moved.
    assert named_alike({"a": 1, "b": 1, "c": 0, "d": 0, "e": 0}, former, 2) == ["lists", "shorter"]
    # A part that split off takes no name that a larger part has.
    assert named_alike({"a": 0, "b": 0, "c": 1, "d": 2, "e": 2}, former, 3) == [
        "shorter",
        "",
        "lists",
    ]
    # Half is not most, and new users say nothing.
    assert named_alike({"a": 0, "b": 1, "d": 0, "e": 1, "x": 1}, former, 2) == ["", ""]


def declared(service: RewardService) -> list[Membership]:
    service.drain()
    return service.updated()


def test_segments_come_from_turns_and_the_newest_counts() -> None:
    service = RewardService()
    service.turn(0, "user", "Hi?", metadata={"segment.plan": "free", "other": "x"}, channel="app")
    service.now = LATER
    service.turn(2, "user", "Hi?", metadata={"segment.plan": " pro "}, channel="app")
    service.now = NOW - timedelta(hours=1)
    service.turn(4, "user", "Hi?", metadata={"segment.plan": "old"}, channel="app")
    found = declared(service)
    assert [one.segments for one in found] == [
        {"channel": "app", "plan": "free"},
        {"channel": "app", "plan": "pro"},
    ]
    assert [one.version for one in found] == [1, 2]
    assert found[-1].groups == ("channel=app", "plan=pro")
    assert service.counts("reward.segments") == {
        ("taken", ""): 6,
        ("made", "declared"): 3,
        ("made", "unchanged"): 1,
        ("abstained", "OLDER"): 2,
    }


def complain(service: RewardService, number: int, said: str, *, is_content: bool = False) -> None:
    kind = (
        events.FOLLOW_UP_KIND_POSITIVE
        if is_content
        else events.FOLLOW_UP_KIND_REATTEMPT_WITH_FEEDBACK
    )
    mined = events.FeedbackMined(
        feedback_id=f"f{number}",
        tenant="local",
        user_id="ada",
        source=events.FEEDBACK_SOURCE_FOLLOW_UP,
        kind=kind,
        context=[encode_message(text_message("user", "What of tea?"))],
        answer=encode_message(text_message("assistant", "Tea is a drink.")),
        follow_up=said,
    )
    mined.create_time.FromDatetime(service.now)
    service.publish(FEEDBACK_MINED, f"f{number}", mined.SerializeToString())


def test_what_a_complaint_asks_for_is_a_segment_until_something_else_is_asked_for() -> None:
    service = RewardService()
    complain(service, 1, "No, shorter please, as a list")
    service.now = LATER
    complain(service, 2, "That's not what I asked.")
    complain(service, 3, "Much shorter than I feared, thanks", is_content=True)
    complain(service, 4, "Too short now, in more detail please")
    assert [one.segments for one in declared(service)] == [
        {"wants.form": "list", "wants.length": "shorter"},
        {"wants.form": "list", "wants.length": "longer"},
    ]
    assert service.counts("reward.segments") == {("taken", ""): 3, ("made", "declared"): 3}


def test_a_team_may_do_without_stated_wishes() -> None:
    service = RewardService(takes_wishes=False)
    complain(service, 1, "No, shorter please")
    assert declared(service) == []


def test_what_cannot_be_a_segment_is_counted_and_the_turn_is_kept() -> None:
    service = RewardService()
    keys = {f"segment.k{n}": "v" for n in range(9)}
    service.turn(0, "user", "Hi?", metadata={**keys, "segment.Plan": "x", "segment.z": " "})
    (found,) = declared(service)
    assert sorted(found.segments) == [f"k{n}" for n in range(8)]
    counts = service.counts("reward.segments")
    assert counts["abstained", "INVALID_SEGMENT"] == 2
    assert counts["abstained", "TOO_MANY_SEGMENTS"] == 1
    assert counts["taken", ""] == sum(n for (outcome, _), n in counts.items() if outcome != "taken")
    assert service.counts("reward.answers") == {("taken", ""): 1, ("made", "request_kept"): 1}


def test_users_who_declare_nothing_are_known_once_users_are_divided() -> None:
    service = RewardService()
    service.turn(0, "user", "Hi?")
    assert declared(service) == []
    with service.database.begin() as transaction:
        service.people(transaction).divide("local", DIVIDED)
    service.turn(2, "user", "And?")
    (found,) = declared(service)
    assert (found.user_id, found.group, found.reward_model) == ("u1", UNKNOWN, DIVIDED.reward_model)


def test_scores_name_the_users_groups() -> None:
    service = RewardService()
    service.train()
    service.turn(0, "user", "Hi?", metadata={"segment.plan": "free"})
    service.turn(1, "assistant", SHORT)
    service.turn(2, "assistant", SHORT, user="u2")
    service.drain()
    assert service.scoring.run_once() == 2
    assert [(one.user_id, list(one.groups)) for one in service.scored()] == [
        ("u1", ["plan=free"]),
        ("u2", []),
    ]


async def test_the_api() -> None:
    service = RewardService()
    with service.database.begin() as transaction:
        service.people(transaction).divide("local", DIVIDED)
    service.turn(0, "user", "Hi?", metadata={"segment.plan": "free"}, user="ada")
    service.turn(2, "user", "Hi?", user="ben")
    service.drain()
    name = "tenants/local/users/ada/membership"

    async def calls(channel: grpc.aio.Channel) -> None:
        stub, mine = pb_grpc.PeopleServiceStub(channel), metadata("local")

        async def correct(**fields: object) -> pb.CorrectMembershipResponse:
            request = pb.CorrectMembershipRequest(name=name, actor="ops", **fields)  # type: ignore[arg-type]
            return await stub.CorrectMembership(request, metadata=mine)

        first = (await correct(group="shorter", reason="said so")).membership
        assert (first.version, first.group, first.actor) == (2, "shorter", "ops")
        second = (await correct(group="lists", segments={"plan": "pro"})).membership
        assert (second.version, second.group, dict(second.segments)) == (
            3,
            "lists",
            {"plan": "pro"},
        )
        with pytest.raises(grpc.RpcError) as unknown:
            await correct(group="taller")
        error = decode_error(unknown.value, "reward")
        assert error.reason == "UNKNOWN_GROUP"
        assert "there are: shorter, lists, unknown" in error.message
        with pytest.raises(grpc.RpcError) as empty:
            await correct()
        assert decode_error(empty.value, "reward").reason == "EMPTY_CORRECTION"

        groups = (await stub.ListGroups(pb.ListGroupsRequest(), metadata=mine)).groups
        assert [(one.name, one.learnt, one.users) for one in groups] == [
            ("lists", True, 1),
            (UNKNOWN, True, 1),
            ("shorter", True, 0),
            ("plan=pro", False, 1),
        ]
        withdrawn = (await correct(group="", segments={"plan": ""})).membership
        assert (withdrawn.group, dict(withdrawn.segments)) == (UNKNOWN, {"plan": "free"})
        assert (withdrawn.version, withdrawn.actor) == (4, "")

        listed = pb.ListMembershipsRequest(page_size=1)
        page = await stub.ListMemberships(listed, metadata=mine)
        assert ([one.user_id for one in page.memberships], page.total_size) == (["ada"], 2)
        listed.page_token = page.next_page_token
        page = await stub.ListMemberships(listed, metadata=mine)
        assert ([one.user_id for one in page.memberships], page.next_page_token) == (["ben"], "")
        only = pb.ListMembershipsRequest(group="plan=free")
        page = await stub.ListMemberships(only, metadata=mine)
        assert ([one.user_id for one in page.memberships], page.total_size) == (["ada"], 1)

        versions = pb.ListMembershipVersionsRequest(name=name, page_size=3)
        old = await stub.ListMembershipVersions(versions, metadata=mine)
        assert [one.version for one in old.memberships] == [4, 3, 2]
        versions.page_token = old.next_page_token
        old = await stub.ListMembershipVersions(versions, metadata=mine)
        assert [(one.version, one.group) for one in old.memberships] == [(1, UNKNOWN)]

        for tenant, reason in (("local", "MEMBERSHIP_NOT_FOUND"), ("acme", "FOREIGN_TENANT")):
            asked = pb.GetMembershipRequest(name=f"tenants/{tenant}/users/eve/membership")
            with pytest.raises(grpc.RpcError) as raised:
                await stub.GetMembership(asked, metadata=mine)
            assert decode_error(raised.value, "reward").reason == reason

    await serve_channel(service, calls)
    assert [one.version for one in service.updated()] == [1, 1, 2, 3, 4]
