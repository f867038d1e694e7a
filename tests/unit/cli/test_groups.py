"""trimtab groups: what is asked, what is shown."""

from __future__ import annotations

from typing import Any

import pytest

from shared.language.errors import InvalidArgument, NotFound

NAME = "tenants/local/users/ada/membership"
MEMBERSHIP = {
    "user_id": "ada",
    "version": 3,
    "group": "shorter",
    "probabilities": {"longer": 0.04, "shorter": 0.96},
    "basis": "MEMBERSHIP_BASIS_LEARNT",
    "judgements": 7,
    "evidence": ["tenants/local/feedback/f7"],
    "segments": {"region": "eu", "plan": "free"},
    "reward_model": "rewardModels/reward-v2",
}


def test_groups_are_listed_with_what_they_prefer(trimtab: Any) -> None:
    groups = [
        {
            "name": "shorter",
            "learnt": True,
            "users": 12,
            "prefers": [{"what": "shorter", "z": 9.1}, {"what": "calm", "z": 3.2}],
            "reward_model": "rewardModels/reward-v2",
        },
        {"name": "plan=free", "users": 4},
        {"name": "wants.length=longer", "users": 2},
    ]
    ran = trimtab("groups", "list", answers={"ListGroups": {"groups": groups}})
    assert ran.platform.asked == [("reward", "ListGroups", {})]
    _, first, second, third = ran.out.splitlines()
    assert first.split("  ")[0] == "shorter"
    assert "shorter, calm" in first and "reward-v2" in first and "learnt" in first
    assert second.startswith("plan=free") and "declared" in second
    assert third.startswith("wants.length=longer") and "asked for" in third
    empty = trimtab("groups", "list", answers={"ListGroups": {}})
    assert "not divided" in empty.out


def test_a_membership_is_shown_with_what_it_rests_on(trimtab: Any) -> None:
    answers = {"GetMembership": {"membership": MEMBERSHIP}}
    ran = trimtab("groups", "show", "ada", answers=answers)
    assert ran.platform.asked == [("reward", "GetMembership", {"name": NAME})]
    assert "ada  version 3  shorter, learnt" in ran.out
    assert "segments: plan=free, region=eu" in ran.out
    rows = [
        line.split()
        for line in ran.out.splitlines()
        if line.split()[:1] in (["shorter"], ["longer"])
    ]
    assert rows == [["shorter", "0.96"], ["longer", "0.04"]]
    assert "by reward-v2, on 7 preferences and judged answers" in ran.out
    assert "  tenants/local/feedback/f7" in ran.out.splitlines()
    assert trimtab("groups", "show", "ada", "--json", answers=answers).json["judgements"] == 7
    missing = NotFound("not there", reason="MEMBERSHIP_NOT_FOUND")
    assert trimtab("groups", "show", "eve", answers={"GetMembership": missing}).code == 3


def test_members_of_a_group_and_the_history_of_one(trimtab: Any) -> None:
    answers = {"ListMemberships": {"memberships": [MEMBERSHIP]}}
    ran = trimtab("groups", "members", "--group", "plan=free", answers=answers)
    assert ran.platform.asked[0][2]["group"] == "plan=free"
    row = ran.out.splitlines()[1].split()
    assert row[:5] == ["ada", "shorter", "learnt", "0.96", "7"]
    older = {"user_id": "ada", "version": 2, "group": "unknown", "actor": "ops", "reason": "asked"}
    answers = {"ListMembershipVersions": {"memberships": [MEMBERSHIP, older]}}
    ran = trimtab("groups", "history", "ada", answers=answers)
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == ["3", "2"]
    assert "ops" in ran.out and "asked" in ran.out


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (("--group", "shorter"), {"group": "shorter", "segments": {}}),
        (("--unknown",), {"group": "unknown", "segments": {}}),
        (("--withdraw",), {"group": "", "segments": {}}),
        (
            ("--segment", "plan=free", "--segment", "region="),
            {"segments": {"plan": "free", "region": ""}},
        ),
    ],
)
def test_a_correction_says_what_and_who_and_why(
    trimtab: Any, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], asked: dict[str, Any]
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ops")
    answers = {"CorrectMembership": {"membership": {**MEMBERSHIP, "actor": "ops", "reason": "so"}}}
    ran = trimtab("groups", "correct", "ada", *options, "--reason", "so", answers=answers)
    assert ran.code == 0
    request = {"name": NAME, **asked, "actor": "ops", "reason": "so"}
    assert ran.platform.asked == [("reward", "CorrectMembership", request)]
    assert "said by ops: so" in ran.out


def test_a_correction_that_makes_no_sense_is_refused(trimtab: Any) -> None:
    assert trimtab("groups", "correct", "ada", "--unknown", "--withdraw").code == 2
    assert trimtab("groups", "correct", "ada", "--segment", "plan").code == 2
    refused = InvalidArgument("there is no group 'taller'; there are: shorter, longer, unknown")
    ran = trimtab(
        "groups", "correct", "ada", "--group", "taller", answers={"CorrectMembership": refused}
    )
    assert ran.code == 2
    assert "there are: shorter, longer" in ran.err
