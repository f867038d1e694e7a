"""Policies from the command line, and the policy of everything else there."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from services.cli.domain.policies import FIELDS
from shared.gen.trimtab.common.v1 import people_pb2
from shared.gen.trimtab.registry.v1 import registry_pb2 as pb
from shared.language.errors import FailedPrecondition, InvalidArgument, Unavailable
from tests.unit.cli.twins import TwinTarget

SUPPORT = {
    "name": "tenants/local/policies/support",
    "description": "help desk",
    "base_model": "base",
    "gate": {"win_rate": 0.55},
    "triggers": {"schedule": "", "drift": False},
    "suites": ["win_rate", "form"],
    "champion_version": "support-v2",
    "canary_version": "support-v3",
    "revision": 4,
}


def request_of(ran: Any, method: str) -> Any:
    return next(request for _, asked, request in ran.platform.asked if asked == method)


def test_every_field_of_a_policy_has_an_option() -> None:
    sections = ("recipe", "triggers", "gate", "rollout")
    kinds: tuple[Any, ...] = (pb.Recipe, pb.Triggers, pb.GateThresholds, pb.RolloutRules)
    found = {
        f"{section}.{field.name}"
        for section, kind in zip(sections, kinds, strict=True)
        for field in kind.DESCRIPTOR.fields
    }
    own = people_pb2.Interests.DESCRIPTOR.fields
    # Who chose is the caller, and the others are the service's.
    found |= {f"interests.{one.name}" for one in own} - {
        f"interests.{name}" for name in ("actor", "set_time", "limits", "words")
    }
    assert {one.path for one in FIELDS} == found | {"description", "suites"}
    assert len({one.name for one in FIELDS}) == len(FIELDS)


def test_a_policy_is_created_with_what_is_given(trimtab: Any) -> None:
    ran = trimtab(
        *("policies", "create", "support", "--description", "help desk", "--base-model", "small"),
        *("--schedule", "", "--no-drift", "--gate-win-rate", "0.55", "--rollout-max-s", "60"),
        *("--volume-pairs", "0", "--suite", "win_rate", "--suite", "form"),
        answers={"CreatePolicy": {"policy": SUPPORT}},
    )
    assert (ran.code, ran.err) == (0, "")
    assert request_of(ran, "CreatePolicy") == {
        "policy_id": "support",
        "policy": {
            "description": "help desk",
            "base_model": "small",
            "triggers": {"schedule": "", "drift": False, "volume_pairs": 0},
            "gate": {"win_rate": 0.55},
            "rollout": {"max_s": 60.0},
            "suites": ["win_rate", "form"],
        },
    }
    assert "champion support-v2, canary support-v3" in ran.out
    assert '"schedule"' not in ran.out
    rows = [line.split() for line in ran.out.splitlines()]
    assert ["triggers.schedule", '""'] in rows
    assert ["triggers.drift", "no"] in rows
    assert ["gate.win_rate", "0.55"] in rows
    assert not any(row[:1] == ["recipe.beta"] for row in rows)


def test_a_rule_for_conflicts_is_chosen_in_the_callers_name(
    trimtab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    chosen = {"rule": "CONFLICT_RULE_MEAN", "reason": "a trial", "actor": "ada", "margin": 0.2}
    ran = trimtab(
        *("policies", "update", "support", "--conflict-rule", "mean", "--group-margin", "0.2"),
        *("--conflict-reason", "a trial", "--small-groups", "go_on"),
        answers={
            "UpdatePolicy": {
                "policy": {
                    **SUPPORT,
                    "interests": {
                        **chosen,
                        "words": "mean (chosen by ada)",
                        "limits": "groups may lose",
                    },
                }
            }
        },
    )
    assert (ran.code, ran.err) == (0, "")
    asked = request_of(ran, "UpdatePolicy")
    assert asked["policy"]["interests"] == {**chosen, "small_groups": "SMALL_GROUPS_GO_ON"}
    assert asked["update_mask"] == (
        "interests.rule,interests.margin,interests.smallGroups,interests.reason,interests.actor"
    )
    assert "conflicts of interest: mean (chosen by ada)" in ran.out
    assert "what this does not promise: groups may lose" in ran.out


def test_what_serves_for_each_policy_is_listed(trimtab: Any) -> None:
    answers = {
        "ListPolicies": {"policies": [{"name": "tenants/local/policies/assistant"}, SUPPORT]}
    }
    ran = trimtab("policies", "list", answers=answers)
    assert [line.split()[0] for line in ran.out.splitlines()] == ["policy", "assistant", "support"]
    assert "support-v2  support-v3  base" in ran.out
    scripted = trimtab("policies", "list", "--json", answers=answers)
    assert scripted.json["policies"][1]["revision"] == "4"


def test_status_shows_what_serves_for_each_policy(trimtab: Any) -> None:
    assistant = {"name": "tenants/local/policies/assistant", "champion_version": "assistant-v0"}
    answers = {"ListPolicies": {"policies": [assistant, SUPPORT]}}
    ran = trimtab("status", answers=answers)
    assert ["support", "support-v2", "support-v3"] in [
        one.split()[:3] for one in ran.out.splitlines()
    ]
    assert len(trimtab("status", "--json", answers=answers).json["policies"]) == 2
    assert "base model" not in trimtab("status").out  # with one policy: its rollout says it all


def test_an_update_names_what_changes_and_what_returns(trimtab: Any) -> None:
    line = ("policies", "update", "support", "--canary-share", "0.1", "--unset", "gate.win_rate")
    ran = trimtab(
        *line, "--unset", "suite", "--revision", "4", answers={"UpdatePolicy": {"policy": SUPPORT}}
    )
    assert ran.code == 0
    assert request_of(ran, "UpdatePolicy") == {
        "policy": {"name": "support", "rollout": {"canary_share": 0.1}},
        "update_mask": "rollout.canaryShare,gate.winRate,suites",
        "revision": 4,
    }


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "nothing to change: give options, or --unset FIELD"),
        (
            ("--unset", "gate.speed"),
            "'gate.speed' is not a field of a policy; choose from description",
        ),
        (("--beta", "0.2", "--unset", "beta"), "recipe.beta is both set and unset: choose one"),
        (("--beta", "much"), "Invalid value for '--beta'"),
    ],
)
def test_a_wrong_update_asks_nothing(trimtab: Any, more: tuple[str, ...], words: str) -> None:
    ran = trimtab("policies", "update", "support", *more)
    assert ran.code == 2
    assert words in ran.err
    assert ran.platform.asked == []


def test_what_the_registry_refuses_says_what_to_do(trimtab: Any) -> None:
    wrong = InvalidArgument("rollout.alpha must be in (0, 1), is 2", reason="OUT_OF_RANGE")
    ran = trimtab("policies", "create", "a", "--alpha", "2", answers={"CreatePolicy": wrong})
    assert ran.code == 2
    assert ran.err.startswith("error: OUT_OF_RANGE: rollout.alpha must be in (0, 1), is 2. Next: ")


GOING = {"words": ["requests for it are answered with 404"], "versions": ["support-v2"]}


@pytest.mark.parametrize(("answer", "deleted"), [("y\n", True), ("n\n", False), ("", False)])
def test_a_deletion_shows_what_goes_and_asks(
    trimtab: Any, monkeypatch: pytest.MonkeyPatch, answer: str, deleted: bool
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    ran = trimtab(
        "policies", "delete", "support", "--reason", "over", answers={"DeletePolicy": GOING}
    )
    assert ran.code == (0 if deleted else 1)
    assert "requests for it are answered with 404" in ran.err
    asked = [request.get("validate_only", False) for _, _, request in ran.platform.asked]
    assert asked == [True, False] if deleted else [True]
    assert ("support is deleted." in ran.out) == deleted


def test_a_script_deletes_without_being_asked(trimtab: Any) -> None:
    line = ("policies", "delete", "support", "--reason", "over", "--yes")
    ran = trimtab(*line, "--json", answers={"DeletePolicy": GOING})
    assert ran.json["versions"] == ["support-v2"]
    ((_, _, request),) = ran.platform.asked
    assert (request["name"], request["reason"]) == ("support", "over")
    assert request["actor"]
    assert trimtab("policies", "delete", "support", "--yes").code == 2  # without a reason
    busy = FailedPrecondition("runs/4 is under way; wait for it", reason="RUN_UNDER_WAY")
    refused = trimtab(*line, answers={"DeletePolicy": busy})
    assert (refused.code, "runs/4 is under way" in refused.err) == (1, True)


@pytest.mark.parametrize(
    ("line", "method"),
    [
        (("retrain", "start"), "StartRetrain"),
        (("retrain", "list"), "ListRuns"),
        (("retrain", "preview"), "PreviewSnapshot"),
        (("models", "list"), "ListVersions"),
        (("models", "list"), "GetRollout"),
        (("models", "rollback", "--reason", "worse"), "RollbackVersion"),
    ],
)
def test_other_commands_name_their_policy(trimtab: Any, line: tuple[str, ...], method: str) -> None:
    snapshot = {"digest": "d" * 64, "train_pairs": 3, "left_out": {"OTHER_POLICY": 2}}
    answers: dict[str, Any] = {
        "StartRetrain": {"name": "operations/o"},
        "ListRuns": {"runs": [{"name": "runs/r", "policy": "support"}, {"name": "runs/q"}]},
        "PreviewSnapshot": {"snapshot": snapshot},
        "ListVersions": {"versions": []},
        "RollbackVersion": {"rollout": {"revision": 1, "champion": {"version": "support-v1"}}},
    }
    for more, policy in (((), ""), (("--policy", "support"), "support")):
        ran = trimtab(*line, *more, answers=answers)
        assert (ran.code, ran.err) == (0, "")
        assert request_of(ran, method)["policy"] == policy
    if method == "ListRuns":
        policies = [one.split()[1] for one in ran.out.splitlines()]
        assert policies == ["policy", "support", "assistant"]


@pytest.mark.parametrize(
    ("line", "method", "field"),
    [(("drift", "list"), "ListAlarms", "alarms"), (("drift", "streams"), "ListStreams", "streams")],
)
def test_drift_is_narrowed_by_the_versions_policy(
    trimtab: Any, line: tuple[str, ...], method: str, field: str
) -> None:
    versions = ("support-v2", "support-v10", "support-eu-v1", "assistant-v1", "gpt-4o")
    answers = {method: {field: [{"model_version": one} for one in versions]}}
    ran = trimtab(*line, "--policy", "support", "--json", answers=answers)
    found = [one["model_version"] for one in ran.json[field]]
    assert found == ["support-v2", "support-v10"]
    assert len(trimtab(*line, "--json", answers=answers).json[field]) == 5


def test_feedback_and_pairs_are_narrowed_by_what_they_say(trimtab: Any) -> None:
    policies = ("support", "", "assistant", "sales")
    answers = {
        "ListFeedback": {"feedback": [{"feedback_id": p or "none", "policy": p} for p in policies]},
        "ListPairs": {"pairs": [{"pair": {"pair_id": p or "none", "policy": p}} for p in policies]},
    }
    for said, found in (("support", ["support"]), ("assistant", ["none", "assistant"])):
        ran = trimtab("feedback", "list", "--policy", said, "--json", answers=answers)
        assert [one["feedback_id"] for one in ran.json["feedback"]] == found
        ran = trimtab("feedback", "pairs", "--policy", said, "--json", answers=answers)
        assert [one["pair"]["pair_id"] for one in ran.json["pairs"]] == found
    table = trimtab("feedback", "pairs", answers=answers).out
    assert [line.split()[3] for line in table.splitlines()] == [
        *("policy", "support", "assistant", "assistant", "sales"),
    ]


def test_feedback_and_pairs_are_narrowed_and_shown_by_group(trimtab: Any) -> None:
    groups = ["shorter", "team=sales"]
    answers = {
        "ListFeedback": {"feedback": [{"user_id": "ada", "groups": groups}]},
        "ListPairs": {"pairs": [{"pair": {"user_id": "ada", "groups": groups}}]},
    }
    for line in (("feedback", "list"), ("feedback", "pairs")):
        ran = trimtab(*line, "--group", "team=sales", answers=answers)
        assert ran.platform.asked[0][2]["filter"] == 'group = "team=sales"'
        assert "shorter, team=sales" in ran.out
        both = (*line, "--filter", 'source = "import"', "--group", 'a"b\\c')
        asked = trimtab(*both, answers=answers).platform.asked[0][2]["filter"]
        assert asked == 'source = "import" AND group = "a\\"b\\\\c"'
        assert trimtab(*line, answers=answers).platform.asked[0][2]["filter"] == ""


def test_an_import_belongs_to_one_policy(trimtab: Any, tmp_path: Path) -> None:
    talk = {"id": "c", "messages": [{"role": "user", "content": "Hi"}]}
    pair = {"id": "p", "prompt": "Hi", "chosen": "Hello", "rejected": "What?"}
    file = tmp_path / "said.jsonl"
    file.write_text(f"{json.dumps(talk)}\n{json.dumps(pair)}\n")
    ids = []
    for policy in ("", "assistant", "support", "sales"):
        target = TwinTarget()
        ran = trimtab("import", str(file), "--policy", policy, target=target)
        assert ran.code == 0, ran.err
        items = [item for sent in target.sent for item in sent]
        assert [one.policy for item in items for one in item.conversations] == [policy]
        (stated,) = [one for item in items for one in item.preferences]
        assert stated.policy == policy
        ids.append(stated.pair_id)
    assert ids == [ids[0], ids[0], f"support.{ids[0]}", f"sales.{ids[0]}"]
    wrong = trimtab("import", str(file), "--policy", "support-v1", target=TwinTarget())
    assert (wrong.code, "INVALID_POLICY_ID: --policy must be" in wrong.err) == (2, True)


def test_whom_a_canary_helps_and_hurts_stands_beside_it_losers_first(trimtab: Any) -> None:
    def rate(value: float) -> dict[str, Any]:
        return {"value": value, "low": value, "high": value, "count": 9, "users": 9}

    groups = [
        {
            "group": name,
            "verdict": verdict,
            "canary_dissatisfaction": rate(canary),
            "champion_dissatisfaction": rate(champion),
        }
        for name, verdict, canary, champion in (
            ("shorter", "not_worse", 0.0, 1.0),
            ("unknown", "untold", 0.5, 0.5),
            ("longer", "worse", 1.0, 0.0),
        )
    ]
    rollout = {
        "champion": {"version": "assistant-v0"},
        "canary": {"version": "assistant-v1"},
        "canary_share": 0.5,
        "groups": groups,
    }
    ran = trimtab(
        "models", "list", answers={"GetRollout": {"rollout": rollout}, "ListVersions": {}}
    )
    assert (ran.code, ran.err) == (0, "")
    rows = [line.split()[:2] for line in ran.out.splitlines() if line]
    at = [
        rows.index([group, verdict])
        for group, verdict in (("longer", "worse"), ("unknown", "untold"))
    ]
    assert at == sorted(at)
    assert rows.index(["shorter", "not"]) > at[-1]


def test_a_policy_names_a_recipe_that_there_is(trimtab: Any) -> None:
    answers = {
        "CreatePolicy": {"policy": SUPPORT},
        "UpdatePolicy": {"policy": SUPPORT},
        "ListRecipes": {"recipes": [{"name": "dpo"}, {"name": "figa"}]},
    }
    made = trimtab("policies", "create", "support", "--recipe", "figa", answers=answers)
    assert (made.code, made.err) == (0, "")
    assert request_of(made, "CreatePolicy")["policy"]["recipe"] == {"name": "figa"}
    for line in (("create", "support"), ("update", "support")):
        wrong = trimtab("policies", *line, "--recipe", "ppo", answers=answers)
        assert wrong.code == 2
        assert "there is no recipe 'ppo'; choose from dpo, figa" in wrong.err
        assert [asked for _, asked, _ in wrong.platform.asked] == ["ListRecipes"]
    # None is always there, and while retrain is away nobody is held up.
    none = trimtab("policies", "update", "support", "--recipe", "", answers=answers)
    assert request_of(none, "UpdatePolicy")["policy"]["recipe"] == {"name": ""}
    away = {**answers, "ListRecipes": Unavailable("retrain is away")}
    assert trimtab("policies", "update", "support", "--recipe", "ppo", answers=away).code == 0
