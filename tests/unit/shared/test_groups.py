"""Groups of people and the rule for their conflicts: names, codecs, words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.contracts.people import (
    decode_interests,
    decode_membership,
    encode_interests,
    encode_membership,
)
from shared.gen.trimtab.common.v1 import people_pb2 as pb
from shared.language.errors import InvalidArgument
from shared.language.groups import (
    UNKNOWN,
    Basis,
    Membership,
    check_segment,
    is_segment,
    learnt,
    segment,
)
from shared.language.interests import LIMITS, ConflictRule, Interests, SmallGroups

NOW = datetime(2026, 11, 28, 12, 30, tzinfo=UTC)
MEMBER = Membership(
    "acme",
    "u1",
    3,
    NOW,
    group="shorter",
    probabilities={"shorter": 0.875, "lists": 0.125},
    basis=Basis.CORRECTED,
    judgements=4,
    evidence=("feedback/f1", "pairs/p1"),
    segments={"plan": "free", "language": "de"},
    reward_model="rewardModels/reward-v2",
    actor="u1",
    reason="said so",
)


def test_a_membership_comes_back_whole() -> None:
    assert decode_membership(encode_membership(MEMBER)) == MEMBER


def test_a_users_groups_are_the_learnt_one_and_then_segments_by_key() -> None:
    assert MEMBER.groups == ("shorter", "language=de", "plan=free")
    assert learnt(MEMBER.groups) == "shorter"


def test_who_is_in_no_group_has_segments_alone() -> None:
    nobody = Membership("acme", "u2", 1, NOW, segments={"plan": "free"})
    assert nobody.groups == ("plan=free",)
    assert learnt(nobody.groups) == ""
    assert learnt((UNKNOWN, "plan=free")) == UNKNOWN


def test_a_segments_name_is_told_from_a_learnt_groups() -> None:
    assert segment(*check_segment("plan", "  free \n trial ")) == "plan=free trial"
    assert is_segment("plan=a=b")
    assert not is_segment(UNKNOWN)


@pytest.mark.parametrize(
    ("key", "value"),
    [("Plan", "x"), ("", "x"), ("p" * 41, "x"), ("a=b", "x"), ("plan", " "), ("plan", "x" * 61)],
)
def test_what_cannot_be_a_segment_is_refused_by_name(key: str, value: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_segment(key, value, "metadata")
    assert (refused.value.reason, refused.value.field) == ("INVALID_SEGMENT", "metadata")


@pytest.mark.parametrize("rule", ConflictRule)
def test_interests_come_back_whole_and_say_their_limits(rule: ConflictRule) -> None:
    interests = Interests(rule, 0.1, SmallGroups.GO_ON, "a person wants it", "ada", NOW)
    encoded = encode_interests(interests)
    assert decode_interests(encoded) == interests
    assert encoded.limits == LIMITS[rule]
    assert interests.words == (
        f"{rule} (chosen by ada, 2026-11-28: a person wants it); margin 0.1; "
        "groups too small to tell are passed over"
    )
    assert encoded.words == interests.words


def test_interests_that_nobody_set_are_the_default() -> None:
    found = decode_interests(pb.Interests())
    assert found == Interests(ConflictRule.NO_GROUP_WORSE, 0.15, SmallGroups.HOLD)
    assert found.words == (
        "no_group_worse (the default; nobody chose it); margin 0.15; "
        "groups too small to tell are waited for"
    )
